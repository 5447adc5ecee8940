"""How long each request has waited in the listen queue, without a router's header.

The queue is first come, first served. So the requests picked up so far, and those that wait, are
the requests that have arrived. Sampled again and again, this number is a curve, and the nth request
that is picked up arrived when the curve passed n. The error is smaller than the time between two
samples, also where requests are shed and throughput jumps: there depth divided by throughput would
be wrong.

Samples are taken at pick-ups, so an idle instance takes none. Idle workers pick up at once. So if
the queue was empty at one sample, requests did not arrive evenly until the next one: they came just
before it. But all workers may have been stopped, or busy: where more requests wait than idle ones
would have left, it is not known how long, so that these requests are not shed, and teach nothing.

What does not come through the kernel's queue is not seen: further requests of a connection that is
kept alive, and what gunicorn's gthread or a router of uWSGI has accepted but not begun. It makes
waits look shorter than they are. Requests that no wrapped app gets, as for static files, make them
look longer: by a quarter if they are a fifth of all.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Callable, List

from .state import ARRIVED_AT, DEPTH, SAMPLED, SAMPLES, TIMES_AT, UNSURE, WRITTEN, State

# seconds between two samples; with 1 s, clients that give up after 1 s would be answered in vain
TICK = 0.1
# After so many seconds without a pick-up, the workers are taken to have been idle rather than busy,
# if not more than FEW were left to be picked up
LONGEST_GAP = 5.0
# An error of so many seconds teaches nothing wrong: waits below this teach nothing
SHORT_GAP = 0.5
# As many may wait when an idle worker picks up the first one of a burst, and as many may have been
# picked up without being counted
FEW = 8


class Arrivals:
    """The curve, as this process knows it.

    `depth` asks the kernel how many connections wait, in tens of microseconds; `waiting` whether
    any does, in less than one.
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
        """Take a sample if it is time to, at the pick-up of a request; return whether one was."""
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
            self._append(now - TICK, picked - 1)  # no request came until just now
            if depth > FEW and now - before > SHORT_GAP:
                cells[UNSURE] = picked + depth
        if cells[UNSURE] > picked + depth:  # memory that something else has written to
            cells[UNSURE] = 0.0
        self._append(now, picked + depth)
        cells[DEPTH] = depth

    def _was_idle(self, gap: float, picked: float, depth: int) -> bool:
        """Return whether the queue was empty at some time since the last sample, `gap` seconds ago.
        If not, all threads were busy, or stopped.
        """
        cells = self._cells
        if not cells[DEPTH]:
            return True
        left = cells[ARRIVED_AT + (int(cells[WRITTEN]) - 1) % SAMPLES] - picked
        return gap > LONGEST_GAP and (left <= FEW or left > depth)

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
