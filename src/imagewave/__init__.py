"""imagewave: briefs in, accepted images out, every cent and pixel accounted for."""

__version__ = "0.1.0"
