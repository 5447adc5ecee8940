"""What waits for room on a descriptor, bounded, and the count of what was dropped because the bound
was reached.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from threading import get_ident
from typing import Callable, Deque, Dict, NamedTuple

from .pieces import cut

NEWEST, OLDEST = "newest", "oldest"
# how many arrivals are put in order at once, and how many may pile up while the thread that does it
# is kept from going on
BATCH = 64
CROWD = 4096


class Dropped(NamedTuple):
    """How much was dropped: lines, and their bytes."""

    lines: int
    size_bytes: int


class Spill:
    """What one process could not write yet.

    Anybody may call `add`, in a signal handler too: it is one append. All else belongs to whoever
    holds `token`, which is only ever tried, never waited for: so a signal handler or a fork that
    finds it held goes on. `bound_bytes` is kept to within a batch of arrivals.
    """

    __slots__ = (
        "_keep",
        "_now",
        "_overrun",
        "arrivals",
        "attended_until",
        "bound_bytes",
        "dropped_bytes",
        "dropped_lines",
        "emptied",
        "first_drop",
        "inherited",
        "inherits",
        "kept",
        "kept_bytes",
        "last_drop",
        "owner",
        "passes",
        "reported",
        "split",
        "tail",
        "token",
    )

    def __init__(
        self, bound_bytes: int, keep: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.bound_bytes = bound_bytes
        self._keep = keep
        self._now = now
        self.arrivals: Deque[bytes] = deque()
        self.kept: Deque[bytes] = deque()
        self.kept_bytes = 0
        # the rest of a piece of which some has gone: it must follow before anything else
        self.tail = b""
        self.dropped_lines = 0
        self.dropped_bytes = 0
        self.inherited = Dropped(0, 0)  # from processes that have ended
        self.inherits = False  # whether some of that was not said yet
        self.reported = Dropped(0, 0)
        self.first_drop = self.last_drop = 0.0  # of what was not said yet
        # there is a thread that writes what waits; infinite while it runs
        self.attended_until = 0.0
        self.split = False  # whether lines longer than `PIPE_BUF` are cut
        self.token = threading.Lock()
        self.owner = 0  # the thread that holds the token
        self.passes = 0  # how often a holder has begun to write what waits
        self.emptied = 0  # the last such pass that wrote all that it found
        self._overrun: Dict[int, Dropped] = {}  # by thread

    def __repr__(self) -> str:
        return f"<Spill {len(self)} bytes, dropped {self.dropped.lines} lines>"

    def __len__(self) -> int:
        return len(self.tail) + self.kept_bytes + sum(map(len, tuple(self.arrivals)))

    def configure(self, bound_bytes: int, keep: str) -> None:
        """Change the bound, and which lines are kept at it; it holds from the next write on."""
        self.bound_bytes, self._keep = bound_bytes, keep

    @property
    def empty(self) -> bool:
        """Return whether nothing waits."""
        return not (self.arrivals or self.kept or self.tail)

    @property
    def done(self) -> bool:
        """Return whether nothing waits and all that was dropped has been said."""
        return self.empty and not self.unsaid.size_bytes

    @property
    def dropped(self) -> Dropped:
        """Return what was dropped since this process began, or since its fork, and what it
        inherited.
        """
        overrun = (self.inherited, *self._overrun.values())
        return Dropped(
            self.dropped_lines + sum(lines for lines, _ in overrun),
            self.dropped_bytes + sum(size_bytes for _, size_bytes in overrun),
        )

    @property
    def unsaid(self) -> Dropped:
        """Return what was dropped and not yet said in the log."""
        dropped, reported = self.dropped, self.reported
        return Dropped(dropped.lines - reported.lines, dropped.size_bytes - reported.size_bytes)

    @property
    def drop_seconds(self) -> float:
        """Return the time from the first to the last drop of this process that was not yet said."""
        first = self.first_drop  # another thread may drop, or say it, just now
        return self.last_drop - first if first else 0.0

    def said(self, dropped: Dropped) -> None:
        """Note that so much has been said. More may have been dropped since."""
        lines, size_bytes = self.reported
        self.reported = Dropped(lines + dropped.lines, size_bytes + dropped.size_bytes)
        self.inherits = False
        self.first_drop = self.last_drop if self.unsaid.size_bytes else 0.0

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

    def order(self) -> None:
        """Put the arrivals behind what is kept. Only for the holder of the token, as the rest."""
        arrivals, first = self.arrivals, self.arrivals.popleft
        while arrivals:
            # joined, because a hundred lines then cost one write and one look at the bound
            batch = b"".join([first() for _ in range(min(len(arrivals), BATCH))])
            for piece in cut(batch, split=self.split):
                self.kept.append(piece)
                self.kept_bytes += len(piece)

    def settle(self) -> None:
        """Do the same, and drop what is over the bound."""
        self.order()
        if self.kept_bytes > self.bound_bytes:
            self._note_drop()
        while self.kept_bytes > self.bound_bytes:
            self.drop(self.kept.popleft() if self._keep == NEWEST else self.kept.pop())

    def drop(self, piece: bytes) -> None:
        """Count a piece, which was kept, as dropped."""
        self.kept_bytes -= len(piece)
        self.dropped_lines += piece.count(b"\n")
        self.dropped_bytes += len(piece)

    def abandon(self) -> None:
        """Drop all that waits."""
        self.order()
        if self.kept or self.tail:
            self._note_drop()
        while self.kept:
            self.drop(self.kept.popleft())
        self.dropped_lines += self.tail.count(b"\n")
        self.dropped_bytes += len(self.tail)
        self.tail = b""

    def _note_drop(self) -> None:
        self.last_drop = self._now()
        self.first_drop = self.first_drop or self.last_drop

    def overrun(self) -> None:
        """Drop the oldest arrival without the token, because whoever holds it does not get to run."""
        try:
            piece = self.arrivals.popleft()
        except IndexError:
            return
        # += of two threads on the same number would lose one of them
        lines, size_bytes = self._overrun.get(get_ident(), Dropped(0, 0))
        self._overrun[get_ident()] = Dropped(lines + piece.count(b"\n"), size_bytes + len(piece))
        self._note_drop()
