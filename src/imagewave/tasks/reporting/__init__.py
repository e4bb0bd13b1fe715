"""What is shown of a wave: the report, and the few pictures that fit elsewhere."""
