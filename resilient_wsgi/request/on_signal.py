"""Stacks at a signal: faulthandler's, in C, so it needs neither the GIL nor a thread that is free; into a file of our own.

The file is in memory (memfd) and has a name by which `resilient-wsgi stacks` finds it among the descriptors of the process,
with the signal's number in it. It is no pipe, so that writing it cannot block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
from typing import Optional, Tuple

from ..core import frames
from ..errors import Unavailable

NAME = "resilient_wsgi.stacks."


def number(name: str) -> int:
    """Return the number that a real-time signal has here. Raises `Unavailable` where there is none of that name."""
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

    def __init__(self, signum: int) -> None:
        """Register it. Raises `Unavailable` where there are no files in memory."""
        if not hasattr(os, "memfd_create"):
            msg = "no memfd_create: stacks on demand need Linux"
            raise Unavailable(msg)
        self.signum = signum
        self.fd = os.memfd_create(f"{NAME}{signum}")
        # so that it can be emptied without leaving a hole: faulthandler writes where it stopped
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_APPEND)
        reason = frames.dump_at_signal(signum, self.fd)
        if reason:
            os.close(self.fd)
            raise Unavailable(reason)

    def close(self) -> None:
        """Take it away again."""
        frames.no_dump_at_signal(self.signum)
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def __repr__(self) -> str:
        return f"<OnSignal {self.signum} fd={self.fd}>"


def find(pid: int) -> Optional[Tuple[str, int]]:
    """Return the path of the file of a process and the number of its signal, None if it has none.

    Raises `PermissionError`, `ProcessLookupError`.
    """
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        msg = f"there is no process {pid}"
        raise ProcessLookupError(msg) from None
    for name in names:
        with contextlib.suppress(OSError):
            match = re.match(rf"/memfd:{re.escape(NAME)}(\d+)", os.readlink(f"{folder}/{name}"))
            if match and _handled(pid, int(match.group(1))):
                return f"{folder}/{name}", int(match.group(1))
    return None


def _handled(pid: int, signum: int) -> bool:
    """Return whether a process has a handler for a signal: without one, it would end the process.

    A child that the worker has started may have its descriptors, but not its handlers.
    """
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", file.read(), re.MULTILINE)
    return caught is not None and bool(int(caught.group(1), 16) >> (signum - 1) & 1)
