"""Stacks at a signal: faulthandler's, in C, so they need neither the GIL nor a thread that is free;
into a file of our own.

It reads frames while their threads may run, and that may end a worker whose threads are busy (0.6
to 3 of 100 dumps of a process that does nothing but compute, up to CPython 3.13): `resilient-wsgi
stacks` sends the signal only where no thread of Python has answered. The file lies in the
instance's private directory, with the signal's number in its name. It is no pipe, so that writing
it cannot block.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from typing import Iterable, Optional, Tuple

from ..core import frames
from ..errors import Unavailable
from ..shm.directory import Directory

TRIM_BYTES = 1 << 18


def number(name: str) -> int:
    """Return the number that a real-time signal has here.

    Raises `Unavailable` where there is none of that name.
    """
    first = getattr(signal, "SIGRTMIN", None)
    if first is None:
        msg = f"this system has no {name}"
        raise Unavailable(msg)
    value = int(first) + int(name.partition("+")[2] or 0)
    if value > signal.SIGRTMAX:
        msg = f"this system has no {name}: SIGRTMAX is SIGRTMIN+{signal.SIGRTMAX - first}"
        raise Unavailable(msg)
    return value


class OnSignal:
    """The handler of the signal in this process, and its file."""

    def __init__(self, signum: int, directory: Directory) -> None:
        """Register it. Raises `Unavailable`, `OSError`."""
        self.signum = signum
        self._directory = directory
        self._name = f"stacks-{os.getpid()}.{signum}"
        # faulthandler writes where the end is: the file can be emptied without leaving a hole
        self.fd = directory.open(self._name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        reason = frames.dump_at_signal(signum, self.fd)
        if reason:
            self._remove()
            raise Unavailable(reason)

    def trim(self) -> None:
        """Empty the file if it has become long: nobody else does."""
        with contextlib.suppress(OSError):
            if os.fstat(self.fd).st_size > TRIM_BYTES:
                os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Take it away again."""
        frames.no_dump_at_signal(self.signum)
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._directory.unlink(self._name)
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def __repr__(self) -> str:
        return f"<OnSignal {self.signum} fd={self.fd}>"


def named(names: Iterable[str], pid: int) -> Optional[Tuple[str, int]]:
    """Return the name of a process's file, out of those in its directory, and the number of its
    signal; None if it has none.
    """
    for name in names:
        match = re.fullmatch(rf"stacks-{pid}\.([0-9]{{2}})", name)
        if match and signal.SIGRTMIN <= int(match.group(1)) <= signal.SIGRTMAX:
            return name, int(match.group(1))
    return None
