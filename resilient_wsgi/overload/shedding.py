"""Which requests are answered 503: those that waited longer than was learned, or than settings
allow (one threshold, or CoDel's two), and never too many of them.

CoDel (RFC 8289; for requests: Facebook's wangle) uses the least wait of an interval: a burst makes
some requests wait, an overload all of them.

Health probes are not shed, because their hosts would leave the rotation, but only so many in a
second: every client chooses its path and its User-Agent, so neither may be a way around shedding.
Load balancers and kubelets ask a few times in 10 s.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Callable, Optional, Tuple

from ..core.environ import Matcher, matcher
from ..settings.options import Overload
from .state import FIRST_SHED, LAST_SHED, SHED, State

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..shm.scoreboard import Scoreboard

INTERVAL = 1.0
# a request that may be shed first, and one that is shed in an overload, in shares of the threshold
# and of the target
SHEDDABLE_SHARE = 0.5
OVERLOAD_TARGETS = 2.0
# how many may be shed in a row before the share counts
BURST = 20.0
PROBE_PATHS = (
    "*/health", "*/healthz", "*/health/*", "*/healthcheck", "*/livez", "*/live", "*/readyz",
    "*/ready", "*/ping", "*/status", "*/-/healthy", "*/-/live", "*/-/ready", "*/up", "*/heartbeat",
    "*/__heartbeat__", "*/__lbheartbeat__",
)  # fmt: skip
PROBE_AGENTS = (
    "kube-probe/",
    "ELB-HealthChecker/",
    "GoogleHC/",
    "Consul Health Check",
    "HAProxy",
    "Prometheus/",
)
PROBES_PER_SECOND = 5


class Shedding:
    """The state of one process.

    Not exact under threads: a number may be lost, and nothing depends on it.
    """

    __slots__ = (
        "_credit",
        "_interval_end",
        "_least",
        "_limit",
        "_share",
        "_target",
        "overloaded",
        "surely_passes",
    )

    def __init__(self, options: Overload) -> None:
        self._limit = math.inf if options.max_wait is None else options.max_wait
        self._target = options.target
        self._share = options.max_shed_share
        self._credit = BURST * self._share
        # A request that waited less is never shed, and need not be noted. CoDel has to see every
        # wait, because the least of them decides: with it, no request surely passes.
        self.surely_passes = SHEDDABLE_SHARE * self._limit if self._target is None else -math.inf
        self._least = math.inf
        self._interval_end = -math.inf
        self.overloaded = False

    def allowed(self, waited: float, now: float, learned: float, *, sheddable: bool) -> float:
        """Note a wait and return how long such a request may have waited now: by what is set, and
        by what was learned.
        """
        limit = min(self._limit, learned)
        if self._target is not None:
            self._note(waited, now, self._target)
            if self.overloaded:
                limit = min(limit, OVERLOAD_TARGETS * self._target)
        return limit * SHEDDABLE_SHARE if sheddable else limit

    def _note(self, waited: float, now: float, target: float) -> None:
        if now >= self._interval_end:
            # an interval without requests, or one that ended long ago, says nothing about now
            fresh = now < self._interval_end + INTERVAL
            self.overloaded = fresh and self._least != math.inf and self._least > target
            self._least = math.inf
            self._interval_end = now + INTERVAL
        self._least = min(self._least, waited)

    def passed(self) -> None:
        """Note a request that was let through: it earns credit for those that may be shed."""
        if self._share < 1:
            self._credit = min(BURST, self._credit + self._share / (1 - self._share))

    def may_shed(self) -> bool:
        """Return whether one more may be shed, and count it."""
        if self._share >= 1:
            return True
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


class Spell:
    """An overload of the instance, from its first shed request until none was shed for a while:
    logged in two lines, not in thousands.

    What several processes count at the same moment may be counted once.
    """

    __slots__ = ("_quiet",)

    def __init__(self, quiet: float = 10.0) -> None:
        self._quiet = quiet

    @staticmethod
    def goes_on(state: State) -> bool:
        """Return whether something was shed lately."""
        return bool(state.cells[SHED])

    @staticmethod
    def shed(state: State, now: float) -> bool:
        """Note a shed request; return whether it is the first."""
        cells = state.cells
        first = not cells[SHED]
        if first:
            cells[FIRST_SHED] = now
        cells[SHED] += 1
        cells[LAST_SHED] = now
        return first

    def over(self, state: State, now: float) -> Optional[Tuple[int, float]]:
        """Return how many were shed and for how long, once, when it is over."""
        cells = state.cells
        shed = int(cells[SHED])
        if not shed or now - cells[LAST_SHED] < self._quiet:
            return None
        cells[SHED] = 0
        return shed, cells[LAST_SHED] - cells[FIRST_SHED]


def looks_like_a_probe(path: str, environ: WSGIEnvironment) -> bool:
    """Return whether a request could be a health probe, by what its sender claims."""
    return bool(_probe_paths()(path)) or str(environ.get("HTTP_USER_AGENT", "")).startswith(
        PROBE_AGENTS
    )


@functools.cache
def _probe_paths() -> Matcher:
    return matcher(PROBE_PATHS)


def _scoreboard() -> Optional[Scoreboard]:
    from ..shm.scoreboard import Scoreboard  # only where there is something to shed

    return Scoreboard.known()


class ProbeAllowance:
    """How many probes may pass: `PROBES_PER_SECOND` of the whole instance, a share of that where
    nothing is shared.

    `board` returns the scoreboard of the instance, or None.
    """

    def __init__(
        self, workers: int, board: Callable[[], Optional[Scoreboard]] = _scoreboard
    ) -> None:
        self._share = PROBES_PER_SECOND / max(1, workers)
        self._board = board
        self._credit = 1.0
        self._looked: Optional[float] = None

    def take(self, now: float) -> bool:
        """Return whether one more may pass, and count it."""
        board = self._board()
        return self._take_alone(now) if board is None else board.take_probe(now, PROBES_PER_SECOND)

    def _take_alone(self, now: float) -> bool:
        passed = now - (now if self._looked is None else self._looked)
        self._looked = now
        self._credit = min(max(1.0, self._share), self._credit + passed * self._share)
        if self._credit < 1:
            return False
        self._credit -= 1
        return True
