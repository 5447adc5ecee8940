"""The ways to write to a descriptor without waiting for its reader, best first.

Which of them there are is decided by the kind of the descriptor, and by the kernel at the first
write: each refuses with one of `REFUSED` before a byte is written. facts: `pwritev2(RWF_NOWAIT)`
works on pipes since Linux 6.4 and on sockets since 6.5, also after setuid, and leaves the flags of
a description that others share alone; it does not work on FIFOs with a name, on a pipe that was
opened anew, and on terminals.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from functools import partial
from typing import Callable, Dict, Iterator, Optional, Tuple

from ..core.system import System
from ..host.descriptors import keeps_messages, kind_of
from ..host.linux import PIPE_BUF, RWF_NOSIGNAL, RWF_NOWAIT

REFUSED = frozenset((errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENOTSOCK))


class Means:
    """One way to write to a descriptor.

    Making one raises `OSError` where it cannot be had. `write` returns how many bytes went, and
    raises `BlockingIOError` if there is no room. Where `atomic`, up to `PIPE_BUF` bytes went all or
    none, also with other processes writing.
    """

    name = "plain"
    __slots__ = ("_system", "atomic", "fd")

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        self.fd = fd
        self.atomic = atomic
        self._system = system

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fd}>"

    def write(self, data: bytes) -> int:
        """Write as to a file, which takes what it is given: regular files, /dev/null."""
        return self._system.write(self.fd, data)

    def close(self) -> None:
        """Give back what it holds besides the descriptor."""


class Nowait(Means):
    """`pwritev2` with `RWF_NOWAIT`: this one call does not wait.

    Before Linux 6.18 a closed reader raises SIGPIPE.
    """

    name = "pwritev2"
    __slots__ = ("write",)
    flags = RWF_NOWAIT

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        pwritev, flags = system.pwritev, self.flags

        # of all the ways this is the one that has to be fast: no attribute is looked up
        def write(data: bytes) -> int:
            return pwritev(fd, (data,), -1, flags)  # an offset other than -1 would be ESPIPE

        self.write = write  # type: ignore[method-assign]


class NowaitNosignal(Nowait):
    """The same without SIGPIPE: EPIPE alone says that the reader is gone (Linux 6.18)."""

    name = "pwritev2-nosignal"
    __slots__ = ()
    flags = RWF_NOWAIT | RWF_NOSIGNAL


class Flagged(Means):
    """A plain write where the description has O_NONBLOCK already: `take_over`, uWSGI's log-master."""

    name = "nonblocking"
    __slots__ = ("write",)

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        self.write = partial(system.write, fd)  # type: ignore[method-assign]  # as fast as can be, too: uWSGI's is this one
        if os.get_blocking(fd):
            raise OSError(errno.EOPNOTSUPP, "the description has no O_NONBLOCK")


class _Private(Means):
    """A way that needs a descriptor of its own besides the one that it writes for.

    Those who make a daemon of the process close all descriptors that they do not know, and the
    number then belongs to somebody else: a database connection. A new pid is when that happens, so
    then it is looked at again.
    """

    __slots__ = ("_identity", "_pid", "_private")

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        self._private = self._make()
        self._identity: Optional[Tuple[int, int]] = self._look()
        self._pid = system.getpid()

    def _make(self) -> int:
        raise NotImplementedError

    def _send(self, data: bytes) -> int:
        raise NotImplementedError

    def _look(self) -> tuple[int, int]:
        status = self._system.fstat(self._private)
        return status.st_dev, status.st_ino

    def _is_mine(self) -> bool:
        try:
            return self._look() == self._identity
        except OSError:
            return False

    def __del__(self) -> None:
        # it may not have been made, or the interpreter be nearly gone
        with contextlib.suppress(Exception):
            self.close()

    def write(self, data: bytes) -> int:
        """Write without waiting."""
        if self._system.getpid() != self._pid:
            if not self._is_mine():
                self._private = self._make()
                self._identity = self._look()
            self._pid = self._system.getpid()
        return self._send(data)

    def close(self) -> None:
        """Close the private descriptor, unless the number has become somebody else's."""
        if self._is_mine():
            self._system.close(self._private)
            self._identity = None


class Reopened(_Private):
    """A description of its own with O_NONBLOCK, opened through /proc: not for sockets, and not as
    another user.
    """

    name = "reopened"
    __slots__ = ()

    def _make(self) -> int:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return self._system.open(f"/proc/self/fd/{self.fd}", flags)

    def _send(self, data: bytes) -> int:
        return self._system.write(self._private, data)


class Sent(_Private):
    """`send` with MSG_DONTWAIT and MSG_NOSIGNAL, for sockets."""

    name = "send"
    __slots__ = ("_socket",)

    def _make(self) -> int:
        private = self._system.dup(self.fd)
        blocking = os.get_blocking(private)
        try:
            self._socket = socket.socket(fileno=private)
        except OSError:
            self._system.close(private)
            raise
        # with socket.setdefaulttimeout() the constructor sets O_NONBLOCK, on the description that
        # others share
        os.set_blocking(private, blocking)
        return private

    def _send(self, data: bytes) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _is_mine(self) -> bool:
        mine = super()._is_mine()
        if not mine:
            self._socket.detach()  # or its finalizer would close what is somebody else's now
        return mine

    def close(self) -> None:
        """Close the private descriptor, unless the number has become somebody else's."""
        if self._is_mine():
            self._socket.close()
            self._identity = None


class Spliced(Means):
    """Through a pipe of its own and `splice` without waiting: old kernels, also after setuid
    (Python 3.10).

    For pipes only: into a socket that blocks it does wait, whatever the flag says (measured on
    Linux 6.18). The pipe belongs to one process and one thread at a time, which is why it is never
    called atomic: the writer then lets one thread at a time have it.
    """

    name = "splice"
    __slots__ = ("_pid", "_pipe")

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        del atomic
        super().__init__(fd, system, atomic=False)
        self._pid = system.getpid()
        self._pipe: Tuple[int, ...] = system.pipe()
        try:
            system.splice(self._pipe[0], fd, 1)
        except (
            BlockingIOError
        ):  # nothing in it yet: so the call is there, and takes this kind of descriptor
            return
        except OSError:
            self.close()
            raise

    def write(self, data: bytes) -> int:
        """Write without waiting."""
        if self._system.getpid() != self._pid:
            self._pid, self._pipe = self._system.getpid(), self._system.pipe()
        read, write = self._pipe
        size = self._system.write(write, data)
        gone = 0
        try:
            gone = self._system.splice(read, self.fd, size)
        finally:
            if gone < size:
                self._system.read(read, size - gone)
        return gone

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def close(self) -> None:
        """Close the private pipe."""
        pipe, self._pipe = self._pipe, ()
        for fd in pipe:
            self._system.close(fd)


class Polled(Means):
    """Look whether there is room, then write: best effort.

    A pipe that is said to have room has room for PIPE_BUF, but another process can take it in
    between, and then this waits after all (4 of 40 rounds with six processes). A terminal may have
    room for one byte only.
    """

    name = "poll"
    __slots__ = ("_step",)

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        self._step = 1 if system.isatty(fd) else PIPE_BUF

    def write(self, data: bytes) -> int:
        """Write as long as there seems to be room."""
        gone = 0
        while gone < len(data) and self._system.writable(self.fd, 0.0):
            gone += self._system.write(self.fd, data[gone : gone + self._step])
        if not gone:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return gone


Maker = Callable[..., Means]


LADDERS: Dict[str, Tuple[Maker, ...]] = {
    "pipe": (NowaitNosignal, Nowait, Flagged, Reopened, Spliced, Polled),
    "socket": (NowaitNosignal, Nowait, Sent, Flagged, Polled),
    "terminal": (Reopened, Flagged, Polled),
    "device": (Means,),
    "file": (Means,),
}


def ladder(fd: int, system: System) -> Iterator[Means]:
    """Yield the ways to write to this descriptor, best first.

    Those that cannot be had are left out.
    """
    what = kind_of(fd, system)
    atomic = what in ("pipe", "file", "device") or (what == "socket" and keeps_messages(fd))
    for make in LADDERS[what]:
        try:
            yield make(fd, system, atomic=atomic)
        except OSError:  # noqa: PERF203 - a few times in a process's life
            continue
