"""How much room the pipe or socket of the log has, and whether its reader makes progress."""

from __future__ import annotations

import errno
import mmap
import os

from ..core.system import System
from ..host.descriptors import PIPE, SOCKET, keeps_messages, kind_of, pipe_capacity, unread_bytes
from ..host.linux import PIPE_BUF

# how often a long line may find too little room, counting only the times at which the amount in the
# pipe had changed, before it is sent in parts, as it would be without this library
TRIES = 100
# left free in a pipe that is nearly full, for C code that writes to the same pipe and does not
# wait: uWSGI's request log, which writes one line when the app is done
RESERVE_BYTES = 8192


class Capacity:
    """The room on one descriptor."""

    __slots__ = (
        "_fd",
        "_kind",
        "_refusals",
        "_size_bytes",
        "_system",
        "_unread_bytes",
        "keeps_messages",
        "refused",
        "shared_with_c",
    )

    def __init__(self, fd: int, system: System) -> None:
        self._fd = fd
        self._system = system
        self._kind = ""
        self._size_bytes = self._unread_bytes = self._refusals = 0
        self.keeps_messages = False
        self.refused = False  # there is some room, but too little
        self.shared_with_c = False  # C code writes here too, and loses what finds no room

    def __repr__(self) -> str:
        return f"<Capacity fd={self._fd} {self._kind} unread={self._unread_bytes}>"

    @property
    def is_pipe(self) -> bool:
        """Whether the descriptor is a pipe."""
        return self._kind == PIPE

    def inspect(self) -> None:
        """Find out what the descriptor is now: another file may have taken its place."""
        try:
            self._kind = kind_of(self._fd, self._system)
            self.keeps_messages = self._kind == SOCKET and keeps_messages(self._fd)
            self._size_bytes = pipe_capacity(self._fd, self._system) if self.is_pipe else 0
        except OSError:
            self._kind = ""

    def changed(self) -> bool:
        """Return whether the unread amount differs from the last call, so the reader reads."""
        before, self._unread_bytes = self._unread_bytes, self._unread()
        return self._unread_bytes != before

    @property
    def has_reserve(self) -> bool:
        """Whether C code finds room."""
        return not self.shared_with_c or self._unread() + RESERVE_BYTES <= self._size_bytes

    def require(self, size_bytes: int) -> None:
        """Raise `BlockingIOError` if a write would leave no reserve, or might split a long line.

        The kernel holds the lock of the pipe while it takes what there is room for, so a line that
        fits is never mixed with the lines of other processes, however long it is. Each write may
        leave a page half empty.
        """
        self.refused = False
        is_long = size_bytes > PIPE_BUF
        if not self.is_pipe or not (is_long or self.shared_with_c):
            return
        before, unread = self._unread_bytes, self._unread()
        if is_long:
            needed = 2 * unread + size_bytes + 3 * mmap.PAGESIZE
        else:
            needed = unread + size_bytes + RESERVE_BYTES
        if not unread or needed <= self._size_bytes or (is_long and self._refusals >= TRIES):
            self._refusals = 0
            return
        self._unread_bytes, self.refused = unread, True
        # a stalled reader must not be sent half a line in the end: only progress counts
        self._refusals += unread != before
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _unread(self) -> int:
        return unread_bytes(self._fd, self._kind, self._system)
