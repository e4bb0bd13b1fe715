"""An image server of your own GPUs."""
