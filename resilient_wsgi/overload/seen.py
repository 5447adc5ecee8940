"""What stands in the scoreboard of another instance about its listen queue, for command-line tools.

It is looked at while its processes write: two of the numbers may be of different moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, List, Optional

from .arrivals import Arrivals
from .state import LIMIT, SHED, TOLERATED, State

if TYPE_CHECKING:
    from ..shm.snapshot import Snapshot


@dataclass(frozen=True)
class Seen:
    """What an instance knows of its queue. Times in seconds, None for what is not known.

    `tolerated`: the wait from which on clients hang up before they have their answer; `limit`: the
    wait from which on requests are answered 503 now, None while they are not; `shed` in this
    overload, `shed_ever` since the instance was started; `oldest`: for how long the first one in
    the queue has waited, to about a tenth of a second.
    """

    picked_up: Optional[int] = None
    tolerated: Optional[float] = None
    limit: Optional[float] = None
    shed: int = 0
    shed_ever: int = 0
    oldest: Optional[float] = None

    @classmethod
    def of(cls, snapshot: Snapshot, waiting: int, now: float) -> Seen:
        """Return what stands in a scoreboard; `waiting` is how many wait by the kernel, `now` on
        the monotonic clock.
        """
        cells = snapshot.queue()
        state = State(cells, len(snapshot.rows))
        picked = int(state.picked())
        if not picked:
            return cls()
        curve = Arrivals(state, lambda: waiting, lambda: waiting > 0)
        return cls(
            picked,
            cells[TOLERATED] or None,
            cells[LIMIT] or None,
            int(cells[SHED]),
            snapshot.counters().get("RequestShed", 0),
            curve.waited(picked + 1, now) if waiting else 0.0,
        )

    def lines(self) -> List[str]:
        """Return what an operator reads."""
        if self.picked_up is None:
            return []
        known, limit = self.tolerated, self.limit
        tolerated = (
            "not known yet"
            if known is None
            else f"{known:.2f} s, after which they hang up before they have their answer"
        )
        shedding = (
            "nothing"
            if limit is None
            else f"requests that waited over {limit:.2f} s, {self.shed} in this overload"
        )
        return [
            f"clients tolerate a wait of  {tolerated}",
            f"shed now                    {shedding}",
            f"oldest request in a queue   has waited {self.oldest or 0.0:.1f} s",
            f"since the start             {self.picked_up} picked up, {self.shed_ever} shed",
        ]
