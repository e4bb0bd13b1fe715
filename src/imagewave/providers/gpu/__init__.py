"""The lane `gpu`: models on your own GPUs."""
