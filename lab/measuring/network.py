"""A network namespace of its own, for experiments that need a somaxconn which is not this host's."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Iterator

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


def somaxconn() -> int:
    """Return the limit of listen queues in the network namespace of this thread."""
    return int(SOMAXCONN.read_text())


@contextlib.contextmanager
def namespace(limit: int) -> Iterator[bool]:
    """Run the block, and every thread and process that is started in it, in a new namespace with
    this somaxconn.

    Gives True; where that is not permitted, gives False and the block runs in the namespace of the
    host, unchanged. Call it from the main thread: /proc/sys/net shows the namespace of the thread
    that asks, /proc/self/net that of the main one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before:
        if libc.unshare(CLONE_NEWNET) != 0:
            yield False
            return
        try:
            _bring_loopback_up()
            SOMAXCONN.write_text(str(limit))
            yield True
        finally:
            if libc.setns(before.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _bring_loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
