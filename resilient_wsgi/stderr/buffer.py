"""The lines that wait for room on a descriptor, up to a limit; counts what was dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from threading import get_ident
from typing import Callable, Deque, Dict, Iterator, NamedTuple

from ..host.linux import PIPE_BUF

NEWEST, OLDEST = "newest", "oldest"
# how many arrivals are sorted in at once, and how many may pile up while the thread that holds the
# token is kept from running
BATCH = 64
CROWD = 4096
CONTINUES = b" [...]\n"
CONTINUED = b"[...] "


class Dropped(NamedTuple):
    """How much was dropped: lines, and their bytes."""

    lines: int
    size_bytes: int


NOTHING = Dropped(0, 0)


class Buffer:
    """What one process could not write yet.

    Any thread may append to `arrivals`, in a signal handler too. Everything else belongs to
    the holder of `token`, which is only ever tried, never waited for: a signal handler or a fork
    that finds it held goes on. `limit_bytes` is kept to within a batch of arrivals.
    """

    __slots__ = (
        "_keep",
        "_now",
        "_overrun",
        "arrivals",
        "attended_until",
        "dropped_bytes",
        "dropped_lines",
        "emptied",
        "first_drop",
        "inherited",
        "inherits",
        "kept",
        "kept_bytes",
        "last_drop",
        "limit_bytes",
        "owner",
        "passes",
        "reported",
        "split",
        "tail",
        "token",
    )

    def __init__(
        self, limit_bytes: int, keep: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_bytes = limit_bytes
        self._keep = keep
        self._now = now
        self.arrivals: Deque[bytes] = deque()
        self.kept: Deque[bytes] = deque()
        self.kept_bytes = 0
        # the rest of a piece that was written in part: it must follow before anything else
        self.tail = b""
        self.dropped_lines = 0
        self.dropped_bytes = 0
        self.inherited = NOTHING  # from processes that have exited
        self.inherits = False  # some of that is not reported yet
        self.reported = NOTHING
        self.first_drop = self.last_drop = 0.0  # of what is not reported yet
        # until when no drain thread needs to be started; infinite while one runs
        self.attended_until = 0.0
        self.split = False  # lines longer than `PIPE_BUF` are cut
        self.token = threading.Lock()
        self.owner = 0  # the thread that holds the token
        self.passes = 0  # how often a holder has begun to write the buffer
        self.emptied = 0  # the last pass that wrote all that it found
        self._overrun: Dict[int, Dropped] = {}  # by thread

    def __repr__(self) -> str:
        return f"<Buffer {len(self)} bytes, dropped {self.dropped.lines} lines>"

    def __len__(self) -> int:
        return len(self.tail) + self.kept_bytes + sum(map(len, tuple(self.arrivals)))

    def configure(self, limit_bytes: int, keep: str) -> None:
        """Change the limit, and which lines are kept at it; effective from the next write."""
        self.limit_bytes, self._keep = limit_bytes, keep

    @property
    def empty(self) -> bool:
        """Return whether nothing waits."""
        return not (self.arrivals or self.kept or self.tail)

    @property
    def done(self) -> bool:
        """Return whether nothing waits and all that was dropped has been reported."""
        return self.empty and not self.unreported.size_bytes

    @property
    def dropped(self) -> Dropped:
        """Return what this process has dropped since it began or was forked, and has inherited."""
        overrun = (self.inherited, *self._overrun.values())
        return Dropped(
            self.dropped_lines + sum(lines for lines, _ in overrun),
            self.dropped_bytes + sum(size_bytes for _, size_bytes in overrun),
        )

    @property
    def unreported(self) -> Dropped:
        """Return what was dropped and not yet reported in the log."""
        dropped, reported = self.dropped, self.reported
        return Dropped(dropped.lines - reported.lines, dropped.size_bytes - reported.size_bytes)

    @property
    def drop_seconds(self) -> float:
        """Return the time from the first to the last drop of this process that is not reported."""
        first = self.first_drop  # another thread may drop or report just now
        return self.last_drop - first if first else 0.0

    def note_reported(self, dropped: Dropped) -> None:
        """Note that this much has been reported. More may have been dropped since."""
        lines, size_bytes = self.reported
        self.reported = Dropped(lines + dropped.lines, size_bytes + dropped.size_bytes)
        self.inherits = False
        self.first_drop = self.last_drop if self.unreported.size_bytes else 0.0

    def inherit(self, dropped: Dropped) -> None:
        """Add what processes that have exited dropped and could not report."""
        lines, size_bytes = self.inherited
        self.inherited = Dropped(lines + dropped.lines, size_bytes + dropped.size_bytes)
        self.inherits = True

    def notice(self, unreported: Dropped, pid: int) -> bytes:
        """Return the line that reports dropped lines in the log itself, empty if there are none."""
        if not unreported.size_bytes:
            return b""
        lines, size_bytes = unreported
        by = f"dropped in {self.drop_seconds:.1f} s by process {pid}"
        if self.inherits:  # their time is not known
            by = f"dropped by process {pid} and processes before it"
        return f"resilient_wsgi: [RW401] {lines} lines ({size_bytes} bytes) {by}\n".encode()

    def enter(self) -> bool:
        """Take the token if it is free, without waiting; return whether this thread has it now."""
        if not self.token.acquire(False):
            return False
        self.owner = get_ident()
        return True

    def leave(self) -> None:
        """Give the token back."""
        self.owner = 0
        self.token.release()

    def sort_in(self) -> None:
        """Move the arrivals behind what is kept. For the holder of the token."""
        arrivals, first = self.arrivals, self.arrivals.popleft
        while arrivals:
            # joined: a hundred lines then cost one write and one check of the limit
            batch = b"".join([first() for _ in range(min(len(arrivals), BATCH))])
            for piece in cut(batch, split=self.split):
                self.kept.append(piece)
                self.kept_bytes += len(piece)

    def enforce_limit(self) -> None:
        """Move the arrivals behind what is kept, and drop what exceeds the limit.

        For the holder of the token.
        """
        self.sort_in()
        if self.kept_bytes > self.limit_bytes:
            self._note_drop()
        while self.kept_bytes > self.limit_bytes:
            self._drop(self.kept.popleft() if self._keep == NEWEST else self.kept.pop())

    def next_piece(self) -> bytes:
        """Return what must be written next, empty if nothing waits. For the holder of the token."""
        return self.tail or (self.kept[0] if self.kept else b"")

    def note_written(self, rest: bytes) -> None:
        """Remove the next piece, of which this much is not written. For the holder of the token."""
        if not self.tail:
            self.kept_bytes -= len(self.kept.popleft())
        self.tail = rest

    def abandon(self) -> None:
        """Drop all that waits. For the holder of the token."""
        self.sort_in()
        if self.kept or self.tail:
            self._note_drop()
        while self.kept:
            self._drop(self.kept.popleft())
        self.dropped_lines += self.tail.count(b"\n")
        self.dropped_bytes += len(self.tail)
        self.tail = b""

    def overrun(self) -> None:
        """Drop the oldest arrival without the token, because its holder does not get to run."""
        try:
            piece = self.arrivals.popleft()
        except IndexError:
            return
        # counted by thread: += of two threads on one number would lose one of them
        lines, size_bytes = self._overrun.get(get_ident(), NOTHING)
        self._overrun[get_ident()] = Dropped(lines + piece.count(b"\n"), size_bytes + len(piece))
        self._note_drop()

    def _drop(self, piece: bytes) -> None:
        self.kept_bytes -= len(piece)
        self.dropped_lines += piece.count(b"\n")
        self.dropped_bytes += len(piece)

    def _note_drop(self) -> None:
        self.last_drop = self._now()
        self.first_drop = self.first_drop or self.last_drop


def cut(data: bytes, limit: int = PIPE_BUF, *, split: bool = False) -> Iterator[bytes]:
    r"""Yield `data` in pieces of whole lines, of at most `limit` bytes; a longer line is one piece.

    A pipe takes a piece of `PIPE_BUF` whole or not at all. With `split` a longer line is cut, too,
    between two characters of UTF-8: for a socket that preserves message boundaries and truncates
    what is longer than its reader's buffer. One part ends with ` [...]\n` and the next begins with
    `[...] `, so that each is a line of its own.
    """
    begin, before = 0, b""
    while len(before) + len(data) - begin > limit:
        last = begin + limit - len(before)
        end = data.rfind(b"\n", begin, last) + 1
        if not end and not split:
            end = data.find(b"\n", last) + 1 or len(data)
        if end:
            yield before + data[begin:end]
            before = b""
        else:
            end = boundary(data, last - len(CONTINUES))
            yield before + data[begin:end] + CONTINUES
            before = CONTINUED
        begin = end
    if begin < len(data):
        yield before + data[begin:]


def boundary(data: bytes, end: int) -> int:
    """Return the last position up to `end` that is between two characters.

    What is not UTF-8 is cut at `end`.
    """
    for position in range(end, max(end - 4, 0), -1):
        if data[position] & 0xC0 != 0x80:
            return position
    return end
