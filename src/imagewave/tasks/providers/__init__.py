"""One module per provider behind the protocol of protocol.py."""
