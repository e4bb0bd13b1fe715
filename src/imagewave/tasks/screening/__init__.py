"""Mechanical screening: what one decode of an image says about it, and which images repeat."""
