"""The operating system, seen from a process: /proc, pipes, sockets.

Knows no instance of a server.
"""
