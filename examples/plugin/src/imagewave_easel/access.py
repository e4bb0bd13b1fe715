"""How Easel is reached."""

from imagewave.providers.provider import Access

ACCESS = Access(
    service="Easel",
    keys=("EASEL_API_KEY",),
    address="EASEL_BASE_URL",
    keys_from="https://easel.example/keys",
)
