"""Money: what is held, what was captured, and what may be spent."""
