"""The operating system, as one small object: tests inject another one instead of patching `os` and
`time`.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import functools
import os
import select
import time
from types import BuiltinFunctionType
from typing import Any, Callable, NoReturn, Sequence, Tuple

SPLICE_F_NONBLOCK = 0x2


def _not_there(*_arguments: Any) -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _monotonic() -> Callable[[], float]:
    """Return the real clock, also where a test has replaced `time.monotonic` before the library was
    imported.
    """
    if isinstance(time.monotonic, BuiltinFunctionType):
        return time.monotonic
    return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)


class System:
    """What the library asks of the operating system.

    A subclass overrides what a test wants to be different.
    """

    # freezegun replaces what modules have of `time`, not what classes have: asked as
    # SYSTEM.monotonic(), the clock is the real one in a test with frozen time, too
    monotonic = staticmethod(_monotonic())
    wall_time = staticmethod(time.time)
    sleep = staticmethod(time.sleep)
    # of the same make as `sleep`: both are gevent's if it has patched them before this was
    # imported, or neither
    start_thread: Callable[..., int] = staticmethod(_thread.start_new_thread)
    getpid = staticmethod(os.getpid)
    exit = staticmethod(os._exit)

    # On descriptors. What this platform has not raises `OSError` with ENOSYS.
    close = staticmethod(os.close)
    dup = staticmethod(os.dup)
    dup2 = staticmethod(os.dup2)
    ioctl: Callable[..., Any] = staticmethod(fcntl.ioctl)
    fcntl = staticmethod(fcntl.fcntl)
    fstat = staticmethod(os.fstat)
    isatty = staticmethod(os.isatty)
    open = staticmethod(os.open)
    pwritev: Callable[[int, Sequence[bytes], int, int], int] = staticmethod(
        getattr(os, "pwritev", _not_there)
    )
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    wipes_on_fork = True  # whether to try MADV_WIPEONFORK

    def splice(self, source: int, target: int, size: int) -> int:
        """Move bytes from a pipe to a descriptor without waiting. Python has it since 3.10."""
        if not hasattr(os, "splice"):
            _not_there()
        return os.splice(source, target, size, flags=SPLICE_F_NONBLOCK)

    def pipe(self) -> Tuple[int, int]:
        """Return the read and the write end of a new pipe that does not block and is not inherited."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        return read, write

    def writable(self, fd: int, seconds: float) -> bool:
        """Wait at most so long until there is room; return whether there is.

        A broken descriptor counts as room.
        """
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def read_text(self, path: str) -> str:
        """Return the text of a file of /proc or /sys, `""` where it cannot be read."""
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                return file.read()
        except OSError:
            return ""


SYSTEM = System()
