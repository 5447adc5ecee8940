"""What the threads of the pool do, read from the scoreboard."""

from __future__ import annotations

import math
from typing import Callable, Dict, List, Optional

from ..host import procfs
from ..shm.layout import THREAD_BYTES, TRIED_BEFORE
from ..shm.rows import OwnRow
from ..shm.scoreboard import Scoreboard
from .rule import Call
from .state import Upstream

REFRESH = 1.0  # who is there
VERIFY = 2.0  # whether they live, once a thread waits for long
OLD = 1.0
_STOPPED = frozenset("Tt")
_STEP = THREAD_BYTES // 8  # of the column of starts, in doubles


class Rows:
    """The rows of all processes; of one alone where connections are bound to a process.

    Under gthread a worker accepts more connections than it has threads, so that threads that are
    idle in another one are of no use to them.
    """

    def __init__(
        self,
        board: Scoreboard,
        mine: OwnRow,
        upstreams: Dict[int, Upstream],
        threads: int,
        queued: Callable[[], bool],
        *,
        alone: bool,
    ) -> None:
        self.queued = queued
        self._board = board
        self._mine = mine
        self._upstreams = upstreams
        self._threads = threads
        self._alone = alone
        self._places = places = board.geometry.threads  # of each row; there may be fewer threads
        first = board.geometry.threads_at // 8
        count = board.geometry.rows * places
        self._starts = board.starts[first : first + count * _STEP : _STEP]
        self.first_of_mine = mine.index * places
        self.mine = range(self.first_of_mine, self.first_of_mine + places)
        self._live: List[int] = [mine.index]
        self._refreshed = self._verified = -math.inf

    def __repr__(self) -> str:
        return f"<Rows of {len(self._live)} processes x {self._threads}>"

    @property
    def count(self) -> int:
        """How many live threads serve requests."""
        return len(self._live) * self._threads

    def refresh(self, now: float) -> None:
        """Look who is there; where a thread waits for long, whether they live, too."""
        if self._alone:
            return
        waits = any(now - self._board.waits_since[place] > OLD for place in self._marked())
        if waits and now - self._verified > VERIFY:
            self._verified = self._refreshed = now
            self._live = [row.index for row in self._serving() if self._lives(row)]
        elif now - self._refreshed > REFRESH:
            self._refreshed = now
            known, verified = set(self._live), now - self._verified <= 2 * VERIFY
            serving = [row.index for row in self._serving()]
            # one that was found dead, or stopped, stays out until they are looked at again
            self._live = [n for n in serving if not verified or n in known] or serving

    def _serving(self) -> List[OwnRow]:
        return [row for row in self._board.workers if row.pid and not row.released and row.seen]

    def _lives(self, row: OwnRow) -> bool:
        found = procfs.stat(row.pid)
        if found is None or not found.runs or found.start != row.started:
            self._clear(row)
            return False
        return found.state not in _STOPPED

    def _clear(self, row: OwnRow) -> None:
        """Clear the marks of a process that was killed; its successor would do so, too."""
        first = row.index * self._places
        for place in range(first, first + self._places):
            self._board.waits_for[place] = 0

    def idle(self) -> int:
        """Return how many threads have no request."""
        starts = self._starts.tolist()
        size, most = self._places, self._threads
        return sum(
            max(0, most - size + starts[row * size : (row + 1) * size].count(0))
            for row in self._live
        )

    def held(self, upstream: Upstream) -> int:
        """Return how many threads wait for an upstream."""
        waits = self._waits()
        return waits.count(upstream.number) + waits.count(upstream.number | TRIED_BEFORE)

    def tried_again(self, upstream: Upstream) -> int:
        """Return how many of these calls are retries."""
        return self._waits().count(upstream.number | TRIED_BEFORE)

    def oldest(self, upstream: Upstream) -> float:
        """Return since when the oldest of these calls is in flight, infinity if there is none."""
        waits, since = self._board.waits_for, self._board.waits_since
        return min(
            (
                since[place]
                for place in self._marked()
                if waits[place] & ~TRIED_BEFORE == upstream.number
            ),
            default=math.inf,
        )

    def calls(self) -> List[Call]:
        """Return all calls in flight, the oldest first."""
        board, found = self._board, []
        live, size = frozenset(self._live), self._places
        for place in self._marked():
            upstream: Optional[Upstream] = self._upstreams.get(
                board.waits_for[place] & ~TRIED_BEFORE
            )
            if upstream is not None and (place // size in live or place in self.mine):
                since, patience = board.waits_since[place], board.patience[place]
                found.append(Call(upstream, since, patience, place, place in self.mine))
        return sorted(found, key=_begun)

    def _waits(self) -> List[int]:
        waits = self._board.waits_for
        if self._alone:
            return waits[self.mine.start : self.mine.stop].tolist()
        return waits.tolist()

    def _marked(self) -> List[int]:
        first = self.mine.start if self._alone else 0
        return [first + n for n, number in enumerate(self._waits()) if number]


class Others:
    """The same without one call to an upstream, that which is about to begin."""

    __slots__ = ("_rows", "_upstream")

    def __init__(self, rows: Rows, upstream: Upstream) -> None:
        self._rows = rows
        self._upstream = upstream

    @property
    def count(self) -> int:
        """How many live threads serve requests."""
        return self._rows.count

    def idle(self) -> int:
        """Return how many threads have no request."""
        return self._rows.idle()

    def queued(self) -> bool:
        """Return whether requests wait for a thread."""
        return self._rows.queued()

    def held(self, upstream: Upstream) -> int:
        """Return how many threads wait for an upstream."""
        return self._rows.held(upstream) - (upstream is self._upstream)

    def oldest(self, upstream: Upstream) -> float:
        """Return since when the oldest of these calls is in flight, infinity if there is none."""
        return self._rows.oldest(upstream)

    def calls(self) -> List[Call]:
        """Return all calls in flight, the oldest first."""
        return self._rows.calls()


def _begun(call: Call) -> float:
    return call.since
