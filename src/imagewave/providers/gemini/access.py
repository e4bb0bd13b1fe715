"""How Google's Gemini API is reached."""

from imagewave.providers.provider import Access

ACCESS = Access(
    service="Gemini",
    keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    address="GOOGLE_GEMINI_BASE_URL",
    keys_from="https://aistudio.google.com/apikey",
)
