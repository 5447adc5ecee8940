"""A worker's answer to `resilient-wsgi stacks`: a socket in the instance's private directory, and a
thread of Python that waits.

Python looks at the frames with the GIL held, which is safe while the other threads run. The dump
that faulthandler makes at a signal is not: so that is for the command to ask for where no thread of
Python answers (stack_dumps.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import time
from typing import Callable, Optional

from ..core.guard import Guard
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..shm.directory import Directory
from ..shm.naming import file_name
from .stack_dumps import FILE
from .wakeup import Alarm

MOST_BYTES = 1 << 19
BACKLOG = 8
SEND_SECONDS = 0.25  # the thread that answers may be the watchdog: no client holds it up for longer
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

_guard = Guard("request")


def socket_name(pid: int) -> str:
    """Return the name of a worker's socket, by its pid in its own pid namespace."""
    return file_name(FILE, pid)


class StacksSocket:
    """The listening socket of this process.

    `wait` is what its thread does when it has nothing else to do.

    A client is sent the text as soon as it connects: there is nothing to be asked. Peers are this
    user and root.
    """

    def __init__(self, directory: Directory, render: Callable[[], str]) -> None:
        """Listen. Raises `OSError`, `Unavailable`."""
        if not hasattr(socket, "SO_PEERCRED"):
            msg = "the kernel does not tell who connects"
            raise Unavailable(msg)
        self._render = render
        self._directory = directory
        self._name = socket_name(os.getpid())
        directory.unlink(self._name)  # of a process that had this pid before
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            # by the descriptor: a path in an address has at most 107 bytes
            self._socket.bind(f"/proc/self/fd/{directory.fd}/{self._name}")
            self._socket.listen(BACKLOG)
        except BaseException:
            self._socket.close()
            raise
        self._identity = _identity(self._socket.fileno())

    def __repr__(self) -> str:
        return f"<StacksSocket {self._directory.path}/{self._name}>"

    @property
    def open(self) -> bool:
        """Return whether it is still this socket: apps close all descriptors, and what is opened
        then has its number.
        """
        return _identity(self._socket.fileno()) == self._identity

    def wait(self, seconds: Optional[float] = None, alarm: Optional[Alarm] = None) -> bool:
        """Wait so long (None: for ever), and answer who comes; return whether it is worth to wait
        here again.

        It returns at the first answer, when the alarm rings, and at once after `wake()`.
        """
        poll = SYSTEM.poll()
        try:
            poll.register(self._socket.fileno(), select.POLLIN)
            if alarm is not None:
                poll.register(alarm.fd, select.POLLIN)
            ready = dict(poll.poll(None if seconds is None else seconds * 1000))
        except (OSError, ValueError):
            return False
        if not self.open:
            return False
        event = ready.get(self._socket.fileno(), 0)
        if event == select.POLLIN:
            with _guard:
                self._answer()
        return event in (0, select.POLLIN)

    def serve(self) -> None:
        """Answer until `close()`, in a thread of its own."""
        pid = os.getpid()
        while self.wait() and os.getpid() == pid:
            pass

    def wake(self) -> None:
        """End the wait of the thread, now and from now on."""
        with contextlib.suppress(OSError):
            if self.open:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take it away."""
        self.wake()
        if self.open:
            self._socket.close()
        else:
            self._socket.detach()
        with contextlib.suppress(OSError):
            self._directory.unlink(self._name)

    def _answer(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # it has gone again
            return
        with connection:
            connection.setblocking(False)
            if _trusted(connection):
                _send(connection, self._render().encode(errors="replace")[:MOST_BYTES])


def _trusted(connection: socket.socket) -> bool:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1] in (0, os.geteuid())


def _send(connection: socket.socket, data: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
    poll = SYSTEM.poll()
    poll.register(connection.fileno(), select.POLLOUT)
    end = time.monotonic() + SEND_SECONDS
    left = memoryview(data)
    while left and time.monotonic() < end:
        try:
            left = left[connection.send(left, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
        except BlockingIOError:  # noqa: PERF203 - once, if at all
            poll.poll(SEND_SECONDS * 1000)
        except OSError:  # it has seen enough
            return


def _identity(fd: int) -> object:
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return (about.st_dev, about.st_ino) if stat.S_ISSOCK(about.st_mode) else None
