"""Waves and their files: read, checked, and repeated as editions."""
