"""The lane `interactive`: single calls to any provider that has a caller."""
