"""A stand-in for the providers' APIs: the embedded default, and the bench for people's clients."""
