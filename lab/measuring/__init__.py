"""Load, and what is seen of a server from outside."""
