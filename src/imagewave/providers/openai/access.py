"""How OpenAI's API is reached."""

from imagewave.providers.provider import Access

ACCESS = Access(
    service="OpenAI",
    keys=("OPENAI_API_KEY",),
    address="OPENAI_BASE_URL",
    keys_from="https://platform.openai.com/api-keys",
)
