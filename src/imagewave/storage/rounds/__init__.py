"""Rounds: what is asked for together, what came of it, what is made again."""
