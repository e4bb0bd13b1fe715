"""What a wave will cost, how long it will take, and what it did cost."""
