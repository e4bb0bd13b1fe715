"""Claude's API."""
