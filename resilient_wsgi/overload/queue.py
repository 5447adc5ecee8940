"""The listen queue as one process sees it: the wait of each request that it picks up, and whether
that is too long.
"""

from __future__ import annotations

import math
from typing import Callable, Optional

from .arrivals import TICK, Arrivals
from .state import DEPTH, LIMIT, SAMPLED, UNSURE, State
from .tolerance import Tolerance


class Queue:
    """Each request is counted by `picked_up` (the middleware does the same inline, where every
    request pays for a call); the rest is called only where something waits.

    After a look at an empty queue nothing is looked at for a tenth of a second: `calm_until`.
    """

    __slots__ = ("arrivals", "calm_until", "state", "tolerance")

    def __init__(
        self,
        state: State,
        depth: Callable[[], int],
        waiting: Callable[[], bool],
        room: float = math.inf,
    ) -> None:
        self.state = state
        self.arrivals = Arrivals(state, depth, waiting)
        self.tolerance = Tolerance(state, self.arrivals, room)
        self.calm_until = -math.inf

    def picked_up(self, now: float) -> Optional[float]:
        """Count a request that is picked up now, and return how long it has waited, None if that is
        not known.
        """
        state = self.state
        state.cells[state.place] = next(state.counts)
        return self.waited(now)

    def waited(self, now: float) -> Optional[float]:
        """Return how long the request has waited that was counted just now, None if that is not
        known.
        """
        if now < self.calm_until:
            return 0.0
        cells = self.state.cells
        before = cells[DEPTH]
        if self.arrivals.look(now):
            self.tolerance.look(now)
        if not before and not cells[DEPTH]:
            self.calm_until = cells[SAMPLED] + TICK
            return 0.0
        number = self.state.picked()
        return None if number <= cells[UNSURE] else self.arrivals.waited(number, now)

    @property
    def limit(self) -> float:
        """The wait from which on requests are shed now, infinity for none."""
        return self.state.cells[LIMIT] or math.inf
