"""What a descriptor of this process is, and how long a write to a socket may wait."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from typing import Iterator

from ..core.system import System


def kind(fd: int, system: System) -> str:
    """Return what the descriptor is, in a word: pipe, socket, terminal, file, device.

    Raises `OSError` if it is closed.
    """
    mode = system.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return "pipe"
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISCHR(mode):
        return "terminal" if system.isatty(fd) else "device"
    return "file"


@contextlib.contextmanager
def as_socket(fd: int) -> Iterator[socket.socket]:
    """Yield a socket object for a descriptor that belongs to somebody else: it has a copy, which it
    closes at the end.
    """
    private = os.dup(fd)
    blocking = os.get_blocking(private)
    try:
        sock = socket.socket(fileno=private)
    except OSError:
        os.close(private)
        raise
    with sock:
        # with socket.setdefaulttimeout() the constructor sets O_NONBLOCK, on the description that
        # others share
        os.set_blocking(private, blocking)
        yield sock


def keeps_messages(fd: int) -> bool:
    """Return whether a socket keeps messages apart, so that each goes whole or not at all."""
    try:
        with as_socket(fd) as sock:
            return sock.type in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM)
    except OSError:
        return False


def is_journal(fd: int) -> bool:
    """Return whether the descriptor is the connection to systemd's journal that this unit alone has.

    systemd names it in JOURNAL_STREAM, as device and inode (systemd.exec(5)).
    """
    try:
        about = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


def set_send_timeout(fd: int, seconds: float) -> None:
    """Have each write to a socket fail that finds no room for so long: SO_SNDTIMEO.

    It holds for all that share the socket, C code and children, too. Raises `OSError`.
    """
    whole = int(seconds)
    value = struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))
    with as_socket(fd) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def has_send_timeout(fd: int) -> bool:
    """Return whether a write to a socket waits for a bounded time only."""
    try:
        with as_socket(fd) as sock:
            value = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
            return any(struct.unpack("@ll", value))
    except (OSError, struct.error):
        return False
