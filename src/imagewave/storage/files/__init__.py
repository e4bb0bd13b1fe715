"""Where a store's files are: on this machine, or in a bucket."""
