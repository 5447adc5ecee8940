"""How long each request has waited in the listen queue, without a header of a router.

The queue is first come, first served. So the number of those picked up so far and of those that
wait is the number of those that have arrived; sampled again and again, it is a curve, and the nth
request that is picked up arrived when the curve passed n. The error is below the time between two
samples, also while the throughput jumps, as it does where requests are shed: depth divided by
throughput is wrong exactly then.

Samples are taken at pick-ups, so an idle instance takes none. A worker that is idle picks up at
once; therefore a time without any, after the queue was empty, is one in which nobody came, and not
one in which requests arrived evenly.

What does not come through the kernel's queue is not seen: further requests of a connection that is
kept alive, what gunicorn's gthread or a router of uWSGI has accepted but not begun. All of these
make waits look shorter than they are.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Callable, List

from .state import ARRIVED_AT, DEPTH, SAMPLED, SAMPLES, TIMES_AT, WRITTEN, State

# between two samples: with 1 s, clients that give up after 1 s would be answered in vain
TICK = 0.1
# All threads may be busy for so long without a pick-up; beyond, the instance is taken to have been
# idle, unless more wait than may have been picked up without being counted (as static files are)
LONGEST_GAP = 5.0
UNCOUNTED = 8


class Arrivals:
    """The curve, as this process knows it.

    `depth` asks the kernel how many wait, and takes microseconds to do so; `waiting` only whether
    anybody does.
    """

    def __init__(self, state: State, depth: Callable[[], int], waiting: Callable[[], bool]) -> None:
        self._state = state
        self._cells = state.cells
        self._depth = depth
        self._waiting = waiting
        self._written = 0.0
        self._times: List[float] = []
        self._arrived: List[float] = []

    def look(self, now: float) -> bool:
        """See how long the queue is, at the pick-up of a request; return whether a sample was
        taken.
        """
        cells = self._cells
        sampled = cells[SAMPLED]
        if sampled <= now < sampled + TICK and (not cells[DEPTH] or self._waiting()):
            return False
        cells[SAMPLED] = now  # first, so that no two processes ask the kernel
        depth = self._depth() if self._waiting() else 0
        self._sample(now, sampled, depth)
        return True

    def _sample(self, now: float, before: float, depth: int) -> None:
        cells, picked = self._cells, self._state.picked()
        if now - before > TICK and self._was_idle(now - before, picked - 1, depth + 1):
            self._append(now - TICK, picked - 1)  # nobody came until just now
        self._append(now, picked + depth)
        cells[DEPTH] = depth

    def _was_idle(self, gap: float, picked: float, depth: int) -> bool:
        """Return whether the queue was empty in the time without a sample that ends now; if not,
        all threads were busy, or stopped.
        """
        cells = self._cells
        if not cells[DEPTH]:
            return True
        left = cells[ARRIVED_AT + (int(cells[WRITTEN]) - 1) % SAMPLES] - picked
        return gap > LONGEST_GAP and (left <= UNCOUNTED or left > depth)

    def _append(self, now: float, arrived: float) -> None:
        cells = self._cells
        written = int(cells[WRITTEN])
        at = written % SAMPLES
        cells[TIMES_AT + at], cells[ARRIVED_AT + at] = now, arrived
        cells[WRITTEN] = written + 1
        # rather a wait too short than one too long: earlier samples cannot have been higher
        for earlier in range(written - 1, max(-1, written - SAMPLES), -1):
            at = ARRIVED_AT + earlier % SAMPLES
            if cells[at] <= arrived:
                break
            cells[at] = arrived

    def waited(self, number: float, now: float) -> float:
        """Return how long the request that is picked up as the `number`th, counted from 1, has
        waited, or has to wait so far.
        """
        if self._cells[WRITTEN] != self._written:
            self._read()
        times, arrived = self._times, self._arrived
        after = bisect_left(arrived, number)
        if not times:
            return 0.0
        if after == len(times):  # since the last sample
            return max(0.0, now - times[-1]) / 2
        if after == 0:
            return max(0.0, now - times[0])
        begin, base = times[after - 1], arrived[after - 1]
        share = (number - base) / (arrived[after] - base)
        return max(0.0, now - begin - share * (times[after] - begin))

    def _read(self) -> None:
        cells = self._cells
        self._written = written = cells[WRITTEN]
        count, oldest = min(int(written), SAMPLES), int(written) % SAMPLES
        if count < SAMPLES:
            oldest = 0
        self._times, self._arrived = (
            [
                *cells[at + oldest : at + count],
                *cells[at : at + oldest],
            ]
            for at in (TIMES_AT, ARRIVED_AT)
        )
