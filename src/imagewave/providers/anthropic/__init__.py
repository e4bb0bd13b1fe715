"""The Claude API."""
