"""Judges pictures: by a provider's vision model, or by a model on this machine."""
