"""Drafts: their prompts, how many of each, and pictures from elsewhere."""
