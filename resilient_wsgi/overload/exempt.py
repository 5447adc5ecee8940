"""Health probes of others: not shed, because their hosts would leave the rotation, but only so many
in a second.

Whoever sends a request chooses its path and its User-Agent, so neither may be a way around
shedding. Load balancers and kubelets ask a few times in 10 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Optional

from ..core.environ import matcher

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..shm.scoreboard import Scoreboard

PATHS = ("*/health", "*/healthz", "*/health/*", "*/healthcheck", "*/livez", "*/live", "*/readyz", "*/ready", "*/ping",
         "*/status", "*/-/healthy", "*/-/live", "*/-/ready", "*/up", "*/heartbeat", "*/__heartbeat__",
         "*/__lbheartbeat__")  # fmt: skip
AGENTS = (
    "kube-probe/",
    "ELB-HealthChecker/",
    "GoogleHC/",
    "Consul Health Check",
    "HAProxy",
    "Prometheus/",
)
PER_SECOND = 5

_is_path = matcher(PATHS)


def looks_like_a_probe(path: str, environ: WSGIEnvironment) -> bool:
    """Return whether a request could be a health probe, by what its sender says of itself."""
    return bool(_is_path(path)) or str(environ.get("HTTP_USER_AGENT", "")).startswith(AGENTS)


def _scoreboard() -> Optional[Scoreboard]:
    from ..shm.scoreboard import Scoreboard  # only where there is something to shed

    return Scoreboard.known()


class Allowance:
    """How many probes may pass in a second: `PER_SECOND` of the whole instance, a share of it where
    nothing is shared.

    `board` returns the scoreboard of the instance, or None.
    """

    def __init__(
        self, workers: int, board: Callable[[], Optional[Scoreboard]] = _scoreboard
    ) -> None:
        self._share = PER_SECOND / max(1, workers)
        self._board = board
        self._credit = 1.0
        self._looked: Optional[float] = None

    def take(self, now: float) -> bool:
        """Return whether one more may pass, and count it."""
        board = self._board()
        return self._take_alone(now) if board is None else board.take_probe(now, PER_SECOND)

    def _take_alone(self, now: float) -> bool:
        passed = now - (now if self._looked is None else self._looked)
        self._looked = now
        self._credit = min(max(1.0, self._share), self._credit + passed * self._share)
        if self._credit < 1:
            return False
        self._credit -= 1
        return True
