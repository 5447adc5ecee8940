"""The methods of writing to a descriptor without waiting for its reader, best first.

Which of them work depends on the kind of the descriptor and, at the first write, on the kernel: a
method that the kernel rejects raises one of `REJECTED` before a byte is written.
`pwritev2(RWF_NOWAIT)` works on pipes since Linux 6.4 and on sockets since 6.5, also after setuid,
and leaves the flags of a shared open file description alone. It does not work on named FIFOs, on a
pipe that was reopened, and on terminals.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from functools import partial
from typing import Callable, Dict, Iterator, Optional, Tuple

from ..core.system import PerProcess, Process, System
from ..host.descriptors import (
    DEVICE,
    FILE,
    PIPE,
    SOCKET,
    TERMINAL,
    identity_of,
    keeps_messages,
    kind_of,
    socket_of,
)
from ..host.linux import PIPE_BUF, RWF_NOSIGNAL, RWF_NOWAIT

REJECTED = frozenset((errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENOTSOCK))


class WriteMethod:
    """One method of writing to a descriptor; this one is a plain `write`: for files and devices.

    The constructor raises `OSError` if the method is not available. `write` returns how many bytes
    went, and raises `BlockingIOError` if there is no room. If `atomic`, up to `PIPE_BUF` bytes go
    all or none, whatever other processes write.
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
        """Write as much as the kernel takes; return how many bytes that was."""
        return self._system.write(self.fd, data)

    def close(self) -> None:
        """Release what the method holds besides the descriptor."""


class Nowait(WriteMethod):
    """`pwritev2` with `RWF_NOWAIT`: this one call does not wait.

    Before Linux 6.18 a reader that has closed its end raises SIGPIPE.
    """

    name = "pwritev2"
    __slots__ = ("write",)
    flags = RWF_NOWAIT

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        pwritev, flags = system.pwritev, self.flags

        # the method that has to be fast: it looks up no attribute
        def write(data: bytes) -> int:
            return pwritev(fd, (data,), -1, flags)  # an offset other than -1 would be ESPIPE

        self.write = write  # type: ignore[method-assign]


class NowaitNosignal(Nowait):
    """`pwritev2` without SIGPIPE: a reader that is gone is EPIPE alone (Linux 6.18)."""

    name = "pwritev2-nosignal"
    __slots__ = ()
    flags = RWF_NOWAIT | RWF_NOSIGNAL


class AlreadyNonBlocking(WriteMethod):
    """A plain `write` where the open file description has O_NONBLOCK: `take_over`, a log-master."""

    name = "nonblocking"
    __slots__ = ("write",)

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        # must be fast, too: uWSGI uses this one
        self.write = partial(system.write, fd)  # type: ignore[method-assign]
        if os.get_blocking(fd):
            raise OSError(errno.EOPNOTSUPP, "the description has no O_NONBLOCK")


class _PrivateDescriptor(WriteMethod):
    """A method that needs a descriptor of its own besides the one that it writes for.

    A process that daemonizes closes all descriptors that it does not know, and the number may then
    belong to something else: a database connection. Daemonizing forks, so each new process checks
    its private descriptor once.
    """

    __slots__ = ("_checked", "_identity", "_private")

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        self._private = self._open()
        self._identity: Optional[Tuple[int, int]] = identity_of(self._private, system)
        self._checked = PerProcess(self._check, Process(system))
        self._checked.get()

    def _open(self) -> int:
        raise NotImplementedError

    def _send(self, data: bytes) -> int:
        raise NotImplementedError

    def _check(self) -> bool:
        """Open another private descriptor if the number belongs to something else."""
        if not self._is_mine():
            self._private = self._open()
            self._identity = identity_of(self._private, self._system)
        return True

    def _is_mine(self) -> bool:
        try:
            return identity_of(self._private, self._system) == self._identity
        except OSError:
            return False

    def __del__(self) -> None:
        # it may never have been opened, or the interpreter may be nearly gone
        with contextlib.suppress(Exception):
            self.close()

    def write(self, data: bytes) -> int:
        """Write to the private descriptor without waiting."""
        self._checked.get()
        return self._send(data)

    def close(self) -> None:
        """Close the private descriptor, unless the number belongs to something else by now."""
        if self._is_mine():
            self._system.close(self._private)
            self._identity = None


class Reopened(_PrivateDescriptor):
    """A second open file description with O_NONBLOCK, opened through /proc.

    Not available for sockets, nor for a pipe of another user.
    """

    name = "reopened"
    __slots__ = ()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return self._system.open(f"/proc/self/fd/{self.fd}", flags)

    def _send(self, data: bytes) -> int:
        return self._system.write(self._private, data)


class Send(_PrivateDescriptor):
    """`send` with MSG_DONTWAIT and MSG_NOSIGNAL, for sockets."""

    name = "send"
    __slots__ = ("_socket",)

    def _open(self) -> int:
        private = self._system.dup(self.fd)
        self._socket = socket_of(private)
        return private

    def _send(self, data: bytes) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _is_mine(self) -> bool:
        mine = super()._is_mine()
        if not mine:
            self._socket.detach()  # or its finalizer would close what has the number now
        return mine

    def close(self) -> None:
        """Close the private descriptor, unless the number belongs to something else by now."""
        if self._is_mine():
            self._socket.close()
            self._identity = None


class Splice(WriteMethod):
    """`splice` from a private pipe, without waiting: old kernels, also after setuid (Python 3.10).

    For pipes only: into a socket that blocks `splice` does wait, whatever its flag says (measured
    on Linux 6.18). The private pipe serves one process and one thread at a time, so this method
    never claims to be atomic: the writer then lets one thread at a time use it.
    """

    name = "splice"
    __slots__ = ("_pipe",)

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        del atomic
        super().__init__(fd, system, atomic=False)
        self._pipe: PerProcess[Tuple[int, int]] = PerProcess(system.pipe, Process(system))
        try:
            system.splice(self._pipe.get()[0], fd, 1)
        except BlockingIOError:  # the pipe is empty, so the kernel does splice to this descriptor
            return
        except OSError:
            self.close()
            raise

    def write(self, data: bytes) -> int:
        """Write without waiting."""
        read, write = self._pipe.get()
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
        """Close the private pipe of this process."""
        pipe = self._pipe.peek() or ()
        self._pipe.clear()
        for fd in pipe:
            self._system.close(fd)


class Polled(WriteMethod):
    """Poll for room, then write: best effort.

    A pipe that reports room has room for PIPE_BUF bytes, but another process can take it in
    between, and then the write waits after all (4 of 40 rounds with six processes). A terminal may
    have room for a single byte.
    """

    name = "poll"
    __slots__ = ("_step",)

    def __init__(self, fd: int, system: System, *, atomic: bool = True) -> None:
        super().__init__(fd, system, atomic=atomic)
        self._step = 1 if system.isatty(fd) else PIPE_BUF

    def write(self, data: bytes) -> int:
        """Write as long as the descriptor reports room."""
        gone = 0
        while gone < len(data) and self._system.writable(self.fd, 0.0):
            gone += self._system.write(self.fd, data[gone : gone + self._step])
        if not gone:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return gone


_CANDIDATES: Dict[str, Tuple[Callable[..., WriteMethod], ...]] = {
    PIPE: (NowaitNosignal, Nowait, AlreadyNonBlocking, Reopened, Splice, Polled),
    SOCKET: (NowaitNosignal, Nowait, Send, AlreadyNonBlocking, Polled),
    TERMINAL: (Reopened, AlreadyNonBlocking, Polled),
    DEVICE: (WriteMethod,),
    FILE: (WriteMethod,),
}


def methods_for(fd: int, system: System) -> Iterator[WriteMethod]:
    """Yield the available methods of writing to this descriptor, best first.

    Raises `OSError` if the descriptor is closed.
    """
    kind = kind_of(fd, system)
    atomic = kind in (PIPE, FILE, DEVICE) or (kind == SOCKET and keeps_messages(fd))
    for make in _CANDIDATES[kind]:
        try:
            yield make(fd, system, atomic=atomic)
        except OSError:  # noqa: PERF203 - a few times in the life of a process
            continue
