"""How an image server of yours is reached."""

from imagewave.providers.provider import Access

ACCESS = Access(
    service="image server",
    keys=("IMAGEWAVE_GPU_API_KEY",),
    address="IMAGEWAVE_GPU_BASE_URL",
)
