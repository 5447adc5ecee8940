"""Bound how long a write to a socket may wait, for C code too: the socket of systemd's journal.

A socket cannot be opened again, so there is no description of our own that could be non-blocking,
and O_NONBLOCK on the one that is there would have children fail at a reader that is only a little
slow. SO_SNDTIMEO does not: a write waits as ever, and fails only when the reader has made no room
for so long.
"""

from __future__ import annotations

import os
import socket
import struct

from .write_methods import as_socket

# what a write of C code or of a child may wait for room, while the reader reads, and while it is
# known to be stalled
SECONDS = 1.0
STALLED_SECONDS = 0.001


def is_journal(fd: int) -> bool:
    """Return whether the descriptor is the connection to the journal that systemd has made for this
    unit alone.

    systemd names it in JOURNAL_STREAM, as device and inode (systemd.exec(5)).
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def bound(fd: int, *, stalled: bool = False) -> None:
    """Have writes wait at most so long, by whoever shares the socket. Raises `OSError`."""
    seconds = STALLED_SECONDS if stalled else SECONDS
    whole = int(seconds)
    with as_socket(fd) as sock:
        sock.setsockopt(
            socket.SOL_SOCKET,
            socket.SO_SNDTIMEO,
            struct.pack("@ll", whole, int((seconds - whole) * 1_000_000)),
        )


def is_bounded(fd: int) -> bool:
    """Return whether writes wait for a bounded time only: after uWSGI has executed itself, say."""
    try:
        with as_socket(fd) as sock:
            return any(
                struct.unpack("@ll", sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16))
            )
    except (OSError, struct.error):
        return False
