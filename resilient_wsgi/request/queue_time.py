"""How long a request has waited before it was picked up, from the time that the router has put into a header.

Routers write it in seconds, milliseconds, microseconds or nanoseconds, with or without `t=`; which one is told by its size,
as the agents of New Relic and Scout do it. Their clock may be another machine's.
"""

from __future__ import annotations

import math
from typing import Optional

YEAR_2000 = 946_684_800.0
# no clock is trusted that is further off than this
PLAUSIBLE = 6 * 3600.0
# nobody waits longer: who seems to was sent by another router than the others, with another clock
LONGEST = 600.0
PERIOD = 60.0
PERIODS = 5


def parse(text: str) -> Optional[float]:
    """Return the point in time that a header tells, in seconds since 1970; None if it tells none that could be meant."""
    try:
        number = float(text[2:] if text[:2] == "t=" else text)
    except ValueError:
        # the first of several values is that of the outermost router
        first, comma, _ = text.partition(",")
        return parse(first.strip()) if comma else None
    if number > YEAR_2000 * 1e6:
        return number / (1e9 if number > YEAR_2000 * 1e9 else 1e6)
    if number > YEAR_2000:
        return number / (1e3 if number > YEAR_2000 * 1e3 else 1.0)
    return None  # NaN too: it is not above anything


class Calibration:
    """What the two clocks differ by: the smallest difference seen in the last minutes counts as no wait at all.

    So a clock that is off makes no request look old. The other side: in a new worker, or in a queue that has not been
    empty for minutes, what all requests waited at least is taken for a difference of the clocks, and they seem to have
    waited less than they did.
    """

    __slots__ = ("_begun", "_floor", "_least", "_past", "_until")

    def __init__(self) -> None:
        self._past = [math.inf] * (PERIODS - 1)
        self._least = self._floor = math.inf
        self._begun = self._until = -math.inf

    def waited(self, stamp: float, wall: float) -> Optional[float]:
        """Return how long a request has waited; `wall` is the clock of this machine. None: implausible."""
        difference = wall - stamp
        if not -PLAUSIBLE < difference < PLAUSIBLE:
            return None
        if not self._begun <= wall < self._until:  # also when the clock was set back
            self._next_period(wall)
        if difference < self._least:
            self._least = difference
            self._floor = min(difference, *self._past)
        waited = difference - self._floor
        return waited if waited < LONGEST else None

    def _next_period(self, wall: float) -> None:
        self._past = [*self._past[1:], self._least]
        self._least = math.inf
        self._floor = min(self._past)
        self._begun, self._until = wall, wall + PERIOD

    def __repr__(self) -> str:
        return f"<Calibration {self._floor:.3f} s>"
