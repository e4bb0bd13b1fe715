"""Delivery: the accepted pictures as files to publish, each with what is known of it."""
