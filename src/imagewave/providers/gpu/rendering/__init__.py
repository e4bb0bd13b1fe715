"""Rendering on your GPUs: buckets of alike pictures, fixed batches, one record per picture."""
