"""Ending waits for sockets: drivers, pools, load."""
