"""The board of another instance, seen from outside: verified, then read; never mapped, locked, or
waited for.

A process gives its descriptors whatever names it likes, and may cut its memory short while it is
looked at.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat

from ..host import procfs
from .board import NAME, Head, Slot, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

MOST_SLOTS = 4096


class NoBoard(Exception):
    """The process has no board that could be read, with the reason if there is one."""


class Glance:
    """What a board holds just now. `look()` takes another look."""

    def __init__(self, master: int, *, to_drain: bool = False) -> None:
        """Find it among what that process has open.

        Raises `NoBoard`, `PermissionError`, `ProcessLookupError`.
        """
        self._fd = open_memory(master, NAME, os.O_RDWR if to_drain else os.O_RDONLY)
        self.look()

    def look(self) -> None:
        """Read it again. Raises `NoBoard` if it is not one of ours any more."""
        head = os.pread(self._fd, ctypes.sizeof(Head), 0)
        self.head = Head.from_buffer_copy(head.ljust(ctypes.sizeof(Head), b"\0"))
        count = self.head.slots
        if self.head.layout != layout() or not 0 <= count <= MOST_SLOTS:
            msg = "was started with another version of resilient_wsgi"
            raise NoBoard(msg)
        size = count * ctypes.sizeof(Slot)
        data = os.pread(self._fd, size, ctypes.sizeof(Head)).ljust(size, b"\0")
        self.slots: List[Slot] = list((Slot * count).from_buffer_copy(data))

    def drain(self, now: float) -> None:
        """Have the instance be emptied, unless that has begun."""
        self.look()
        if not self.head.draining:
            os.pwrite(self._fd, ctypes.c_double(now), Head.draining.offset)  # type: ignore[attr-defined]

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # there was none
            os.close(self._fd)


def open_memory(master: int, called: str, flags: int) -> int:
    """Open the memory of that name that a process has open. Raises as `Glance` does."""
    for theirs, link in procfs.links(master).items():
        with contextlib.suppress(OSError):  # closed meanwhile
            if _is_named(link, called):
                path = f"/proc/{master}/fd/{theirs}"
                fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                if _is_memory(fd, called, master):
                    return fd
                os.close(fd)
    raise NoBoard


def _is_named(link: str, called: str) -> bool:
    return link.startswith(f"/memfd:{called}")


def _is_memory(fd: int, called: str, master: int) -> bool:
    """Return whether it is what its name says: between the look at the name and the opening it may
    have become another.
    """
    about = os.fstat(fd)
    owners = {0, *procfs.uids(master)}  # made before the master changed its user, or after
    nameless = stat.S_ISREG(about.st_mode) and about.st_nlink == 0
    return nameless and about.st_uid in owners and _is_named(procfs.link(procfs.SELF, fd), called)
