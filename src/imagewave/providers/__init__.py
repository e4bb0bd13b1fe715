"""Whoever renders, writes and judges: one protocol, and a folder for each provider."""
