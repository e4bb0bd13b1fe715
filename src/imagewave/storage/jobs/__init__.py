"""Provider jobs: their folders, and what is recorded of each."""
