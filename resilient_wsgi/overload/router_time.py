"""When a router says that it had a request, and how far its clock is from ours.

Routers write seconds, milliseconds, microseconds or nanoseconds, with or without `t=`; the size
tells which, as in the agents of New Relic and Scout. Their clock may be another machine's.

A client can send such a header, too. A router that sets it replaces the client's, one that appends
puts its own value last; a client that bypasses the router writes what it likes. So of several
values the last one counts, and what a single request says changes nothing for the others.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import List, Optional

YEAR_2000 = 946_684_800.0
# a clock that differs by more is not trusted
PLAUSIBLE = 6 * 3600.0
# no request waits longer: one that seems to comes from another router, with another clock
LONGEST = 600.0
PERIOD = 60.0
PERIODS = 5
# how many requests have to show it, and one in how many, before the clocks are taken to differ by
# less
SUPPORT = 3
SUPPORT_ONE_IN = 100
MOST_SMALLEST = 64
# ntpd sets a clock that differs by 0.128 s, and else adjusts it by less than a thousandth
STEP = 0.1


def parse(text: str) -> Optional[float]:
    """Return the time in a header, in seconds since 1970; None if there is no plausible one.

    Of several values the last counts: it is that of the nearest router.
    """
    if "," in text:
        text = text.rpartition(",")[2].strip()
    try:
        number = float(text[2:] if text[:2] == "t=" else text)
    except ValueError:
        return None
    if number > YEAR_2000 * 1e6:
        return number / (1e9 if number > YEAR_2000 * 1e9 else 1e6)
    if number > YEAR_2000:
        return number / (1e3 if number > YEAR_2000 * 1e3 else 1.0)
    return None  # NaN too: it is not above anything


class Calibration:
    """How far the router's clock is behind this host's: the difference that hardly any request of
    the last minutes was below.

    So a clock that is behind makes no request look old. The price: in a new worker, or while the
    queue has not been empty for minutes, the least wait of all requests is taken for a difference
    of the clocks, and they seem to have waited less than they did. A router whose clock is ahead
    makes requests look younger than they are: a stamp of the future counts as no wait, which makes
    a forged one harmless.
    """

    __slots__ = (
        "_before",
        "_begun",
        "_count",
        "_floor",
        "_largest",
        "_offset",
        "_past",
        "_smallest",
        "_suspected",
        "_until",
    )

    def __init__(self) -> None:
        self._past = [math.inf] * (PERIODS - 1)
        self._before = self._floor = math.inf
        self._begun = self._until = -math.inf
        self._smallest: List[float] = []  # of this period
        self._largest = math.inf  # of those
        self._count = 0
        self._offset = self._suspected = 0.0  # wall time less monotonic time

    def waited(self, stamp: float, wall: float, now: Optional[float] = None) -> Optional[float]:
        """Return how long a request has waited, None if not known; `wall` is this host's clock,
        `now` its monotonic one, by which it is seen when that was set.
        """
        if now is not None:
            self._check(wall - now)
        difference = wall - stamp
        if not -PLAUSIBLE < difference < PLAUSIBLE:
            return None
        if not self._begun <= wall < self._until:  # also when the clock was set back
            self._next_period(wall)
        self._count += 1
        if difference < self._largest:
            self._note(max(0.0, difference))
        floor = self._floor
        if difference <= floor:
            return 0.0 if floor < math.inf else None
        waited = difference - floor
        return waited if waited < LONGEST else None

    def _check(self, offset: float) -> None:
        """Begin again if this host's clock was set, because then all would seem to have waited for
        the difference. Two requests in a row have to show it: one may have been held up between
        two clocks.
        """
        if self._begun == -math.inf:  # the first request
            self._offset = self._suspected = offset
        elif -STEP < offset - self._offset < STEP:
            self._suspected = self._offset
        elif -STEP < offset - self._suspected < STEP:
            self._offset, self._begun, self._until = offset, -math.inf, -math.inf
        else:
            self._suspected = offset

    def _note(self, difference: float) -> None:
        insort(self._smallest, difference)
        if len(self._smallest) > MOST_SMALLEST:
            self._smallest.pop()
            self._largest = self._smallest[-1]
        self._floor = min(self._least(), self._before)

    def _least(self) -> float:
        """Return the difference that enough requests of this period were at or below; infinity
        while there are too few.
        """
        if self._count < SUPPORT:
            return math.inf
        # of the first few, the one in the middle
        place = min(
            max(SUPPORT, self._count // SUPPORT_ONE_IN) - 1,
            (self._count - 1) // 2,
            len(self._smallest) - 1,
        )
        return self._smallest[place]

    def _next_period(self, wall: float) -> None:
        least = self._least()
        idle = not -PERIOD < wall - self._begun < PERIOD * PERIODS  # or the clock was set back
        if idle:
            self._past = [math.inf] * (PERIODS - 1)
        elif least < math.inf:
            self._past = [*self._past[1:], least]
        if idle or least < math.inf:  # otherwise those few count on
            self._smallest, self._largest, self._count = [], math.inf, 0
        self._before = self._floor = min(self._past)
        self._begun, self._until = wall, wall + PERIOD

    def __repr__(self) -> str:
        return f"<Calibration {self._floor:.3f} s>"
