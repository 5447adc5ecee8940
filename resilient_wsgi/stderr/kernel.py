"""What the writers ask of the operating system; tests inject another one, in which a call is not there or is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import select
from typing import Any, Callable, NoReturn, Sequence

from ..system import System

# Linux; Python has the second constant nowhere, the kernel since 6.18
RWF_NOWAIT = 0x8
RWF_NOSIGNAL = 0x100
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032
SPLICE_F_NONBLOCK = 0x2
PIPE_BUF = select.PIPE_BUF


def _not_there(*_arguments: Any) -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


class Kernel(System):
    """The calls on descriptors. One that this platform has not raises `OSError` with ENOSYS."""

    close = staticmethod(os.close)
    dup = staticmethod(os.dup)
    dup2 = staticmethod(os.dup2)
    fcntl = staticmethod(fcntl.fcntl)
    fstat = staticmethod(os.fstat)
    isatty = staticmethod(os.isatty)
    open = staticmethod(os.open)
    pwritev: Callable[[int, Sequence[bytes], int, int], int] = staticmethod(getattr(os, "pwritev", _not_there))
    read = staticmethod(os.read)
    write = staticmethod(os.write)

    def splice(self, source: int, target: int, size: int) -> int:
        """Move bytes from a pipe to a descriptor without waiting. Python has it since 3.10."""
        if not hasattr(os, "splice"):
            _not_there()
        return os.splice(source, target, size, flags=SPLICE_F_NONBLOCK)

    def pipe(self) -> tuple[int, int]:
        """Return the read and the write end of a new pipe that does not block and is not inherited."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        return read, write

    def writable(self, fd: int, seconds: float) -> bool:
        """Wait at most so long until there is room; return whether there is. A broken descriptor counts as room."""
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))


KERNEL = Kernel()
