"""Facts about an open descriptor: what it is, how full it is, how long a write to it may wait."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys
import termios
from typing import Iterator, Tuple

from ..core.system import System
from .linux import F_GETPIPE_SZ

PIPE, SOCKET, TERMINAL, DEVICE, FILE = "pipe", "socket", "terminal", "device", "file"
_UNREAD = {PIPE: termios.FIONREAD, SOCKET: termios.TIOCOUTQ, TERMINAL: termios.TIOCOUTQ}
_INT = bytes(4)  # where the ioctl puts its answer


def kind_of(fd: int, system: System) -> str:
    """Return `pipe`, `socket`, `terminal`, `device` or `file`.

    Raises `OSError` if the descriptor is closed.
    """
    mode = system.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return PIPE
    if stat.S_ISSOCK(mode):
        return SOCKET
    if stat.S_ISCHR(mode):
        return TERMINAL if system.isatty(fd) else DEVICE
    return FILE


def identity_of(fd: int, system: System) -> Tuple[int, int]:
    """Return device and inode of the file behind a descriptor. Raises `OSError` if it is closed."""
    status = system.fstat(fd)
    return status.st_dev, status.st_ino


def pipe_capacity(fd: int, system: System) -> int:
    """Return how many bytes a pipe holds. Raises `OSError` if the kernel does not tell."""
    return system.fcntl(fd, F_GETPIPE_SZ)


def unread_bytes(fd: int, kind: str, system: System) -> int:
    """Return how many bytes are written and not yet read, 0 if the kernel does not tell."""
    request = _UNREAD.get(kind)
    if request is None:
        return 0
    try:
        return int.from_bytes(system.ioctl(fd, request, _INT), sys.byteorder)
    except OSError:
        return 0


def keeps_messages(fd: int) -> bool:
    """Return whether a socket preserves message boundaries: each write goes whole or not at all."""
    try:
        with as_socket(fd) as sock:
            return sock.type in (socket.SOCK_SEQPACKET, socket.SOCK_DGRAM)
    except OSError:
        return False


def is_journal(fd: int) -> bool:
    """Return whether a descriptor is the connection to the journal that systemd made for this unit.

    systemd names it in JOURNAL_STREAM, as device and inode (systemd.exec(5)).
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def set_send_timeout(fd: int, seconds: float) -> None:
    """Set SO_SNDTIMEO of a socket, for every process that shares it. Raises `OSError`."""
    whole = int(seconds)
    timeout = struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))
    with as_socket(fd) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)


def has_send_timeout(fd: int) -> bool:
    """Return whether SO_SNDTIMEO of a socket is set; an exec keeps it."""
    try:
        with as_socket(fd) as sock:
            timeout = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
            return any(struct.unpack("@ll", timeout))
    except (OSError, struct.error):
        return False


@contextlib.contextmanager
def as_socket(fd: int) -> Iterator[socket.socket]:
    """Yield a socket object for a descriptor that stays open: it owns, and closes, a duplicate."""
    sock = socket_of(os.dup(fd))
    with sock:
        yield sock


def socket_of(duplicate: int) -> socket.socket:
    """Return a socket object that owns a duplicate of a descriptor; close it if it is no socket.

    Raises `OSError` then.
    """
    blocking = os.get_blocking(duplicate)
    try:
        sock = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise
    # after socket.setdefaulttimeout() the constructor sets O_NONBLOCK, on the open file description
    # that other processes share
    os.set_blocking(duplicate, blocking)
    return sock
