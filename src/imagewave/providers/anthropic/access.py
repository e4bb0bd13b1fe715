"""How Anthropic's Claude API is reached."""

from imagewave.providers.provider import Access

ACCESS = Access(
    service="Claude",
    keys=("ANTHROPIC_API_KEY",),
    address="ANTHROPIC_BASE_URL",
    keys_from="https://platform.claude.com/settings/keys",
)
