"""What the kernel tells of the room in a pipe or socket, and whether its reader takes anything."""

from __future__ import annotations

import errno
import mmap
import os
import sys
import termios

from ..core.system import System
from ..host.descriptors import keeps_messages, kind_of
from ..host.linux import F_GETPIPE_SZ, PIPE_BUF

QUEUED = {"pipe": termios.FIONREAD, "socket": termios.TIOCOUTQ, "terminal": termios.TIOCOUTQ}
_AMOUNT = bytes(4)  # place for an int
# how often a long line may find too little room, each time after something was read or written,
# before it goes in parts: as it would without this library
TRIES = 100
# what is left free in a pipe, while it is nearly full, for C code that writes to the same one and
# does not wait: uWSGI's request log, a line of which is written when the app is done
RESERVE_BYTES = 8192


class Room:
    """The room on one descriptor."""

    __slots__ = (
        "_fd",
        "_kind",
        "_queued",
        "_refusals",
        "_size_bytes",
        "_system",
        "keeps_messages",
        "refused",
        "shared_with_c",
    )

    def __init__(self, fd: int, system: System) -> None:
        self._fd = fd
        self._system = system
        self._kind = ""
        self._size_bytes = self._queued = self._refusals = 0
        self.keeps_messages = False
        self.refused = False  # whether there is some room, but too little
        self.shared_with_c = False  # whether there is C code that loses what it finds no room for

    def __repr__(self) -> str:
        return f"<Room fd={self._fd} {self._kind} queued={self._queued}>"

    @property
    def is_pipe(self) -> bool:
        """Whether the descriptor is a pipe."""
        return self._kind == "pipe"

    def look(self) -> None:
        """Find out what the descriptor is, which may have been replaced."""
        try:
            self._kind = kind_of(self._fd, self._system)
            self.keeps_messages = self._kind == "socket" and keeps_messages(self._fd)
            self._size_bytes = (
                self._system.fcntl(self._fd, F_GETPIPE_SZ) if self._kind == "pipe" else 0
            )
        except OSError:
            self._kind = ""

    def changed(self) -> bool:
        """Return whether another amount is unread than at the last call: so while it is full,
        somebody reads.
        """
        before, self._queued = self._queued, self._unread()
        return self._queued != before

    @property
    def has_reserve(self) -> bool:
        """Whether C code finds room."""
        return not self.shared_with_c or self._unread() + RESERVE_BYTES <= self._size_bytes

    def expect(self, size_bytes: int) -> None:
        """Raise `BlockingIOError` if this would leave no room for C code, or if a long line might
        not fit whole.

        The kernel holds its lock of the pipe while it takes what there is room for, so a line that
        fits is never mixed with other processes' lines, however long it is. Each write may leave a
        page half empty.
        """
        self.refused = False
        is_long = size_bytes > PIPE_BUF
        if self._kind != "pipe" or not (is_long or self.shared_with_c):
            return
        before, unread = self._queued, self._unread()
        takes = (
            2 * unread + size_bytes + 3 * mmap.PAGESIZE
            if is_long
            else unread + size_bytes + RESERVE_BYTES
        )
        if not unread or takes <= self._size_bytes or (is_long and self._refusals >= TRIES):
            self._refusals = 0
            return
        self._queued, self.refused = unread, True
        # a reader that is stalled is to find no half of a line in the end
        self._refusals += unread != before
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _unread(self) -> int:
        request = QUEUED.get(self._kind)
        if request is None:
            return 0
        try:
            return int.from_bytes(self._system.ioctl(self._fd, request, _AMOUNT), sys.byteorder)
        except OSError:
            return 0
