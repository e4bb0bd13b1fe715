"""Easel, an imaginary service that draws, as a provider of imagewave."""
