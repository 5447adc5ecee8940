"""Which requests are answered 503: those that waited too long, by one threshold or by CoDel's two,
and never too many of them.

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
        "watchful",
    )

    def __init__(self, options: Overload) -> None:
        self._limit = math.inf if options.max_queue_wait is None else options.max_queue_wait
        self._target = options.queue_target
        self._share = options.max_shed_share
        self._credit = BURST * self._share
        # A request that waited less is never shed, and need not be noted. CoDel has to see every
        # wait, because the least of them decides: with it, no request surely passes.
        self.surely_passes = SHEDDABLE_SHARE * self._limit if self._target is None else -math.inf
        self._least = math.inf
        self._interval_end = -math.inf
        self.overloaded = False
        self.watchful = False  # something was shed lately

    def allowed(self, waited: float, now: float, *, sheddable: bool) -> float:
        """Note a wait and return how long such a request may have waited now."""
        limit = self._limit
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
    """An overload, from its first shed request until none was shed for a while: logged in two
    lines, not in thousands.
    """

    __slots__ = ("_began", "_last", "_quiet", "_shed", "_shedding")

    def __init__(self, shedding: Shedding, quiet: float = 10.0) -> None:
        self._shedding = shedding
        self._quiet = quiet
        self._began = self._last = -math.inf
        self._shed = 0

    def shed(self, now: float) -> bool:
        """Note a shed request; return whether it is the first."""
        first = not self._shed
        if first:
            self._began = now
            self._shedding.watchful = True
        self._shed += 1
        self._last = now
        return first

    def over(self, now: float) -> Optional[Tuple[int, float]]:
        """Return how many were shed and for how long, once, when it is over."""
        if not self._shed or now - self._last < self._quiet:
            return None
        ended = self._shed, self._last - self._began
        self._shed = 0
        self._shedding.watchful = False
        return ended


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
