"""Reads and writes of a socket that end at a point in time, and leave the socket as it is.

`settimeout` would change it for every thread: one that writes to it meanwhile would meet
`BlockingIOError`, or a timeout that is not its own.
"""

from __future__ import annotations

import math
import select
import socket
from typing import Any, Callable

_TLS_RECORD_BYTES = 16 * 1024

Call = Callable[..., Any]


class Over(OSError):
    """The time was up before the socket was ready."""


class Wait:
    """One call of a method of a socket: `original` is the method of its class."""

    __slots__ = ("_now", "_until", "own")

    def __init__(self, now: Callable[[], float], until: float, own: Any) -> None:
        self._now = now
        self._until = until
        self.own = own

    def ready(self, sock: Any, what: int) -> None:
        """Wait until a socket can be read or written to; raise `Over` if it cannot in time."""
        fd = sock.fileno()
        if fd < 0:  # closed: the call says so
            return
        poll = select.poll()
        poll.register(fd, what)
        if not poll.poll(max(0, math.ceil((self._until - self._now()) * 1000))):
            raise Over


def read(original: Call, wait: Wait, sock: Any, *args: Any, **kwargs: Any) -> Any:
    """Read from a plain socket."""
    wait.ready(sock, select.POLLIN)
    return original(sock, *args, **kwargs)


def write_tls(original: Call, wait: Wait, sock: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
    """Write a record at most: there is room for it where a socket is ready."""
    wait.ready(sock, select.POLLOUT)
    piece = memoryview(data).cast("B")[:_TLS_RECORD_BYTES]
    return original(sock, piece, *args, **kwargs)


def write(original: Call, wait: Wait, sock: Any, data: Any, flags: int = 0) -> Any:
    """Write what there is room for."""
    if wait.own is not None:
        wait.ready(sock, select.POLLOUT)
    while True:
        try:
            return original(sock, data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:  # noqa: PERF203 - seldom
            wait.ready(sock, select.POLLOUT)


def write_all(send: Call, wait: Wait, sock: Any, data: Any, flags: int = 0) -> None:
    """Write everything; `send` is the method that writes what there is room for."""
    if type(data) is bytes:  # most commands fit
        sent = write(send, wait, sock, data, flags)
        if sent == len(data):
            return
        data = memoryview(data)[sent:]
    rest = memoryview(data).cast("B")
    while len(rest):
        rest = rest[write(send, wait, sock, rest, flags) :]
