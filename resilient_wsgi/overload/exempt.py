"""Health probes of others: not shed, because their hosts would leave the rotation, but only so many
in a second.

Whoever sends a request chooses its path and its User-Agent, so neither may be a way around
shedding. Load balancers and kubelets ask a few times in 10 s.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..request.paths import matcher

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

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
# which second of the monotonic clock, and how many were let through in it; behind the stamps of
# `rate`
_COUNT = struct.Struct("=QQ")
COUNT_AT = 1024

_is_path = matcher(PATHS)
Memory = Callable[[], Any]


def looks_like_a_probe(path: str, environ: WSGIEnvironment) -> bool:
    """Return whether a request could be a health probe, by what its sender says of itself."""
    return bool(_is_path(path)) or str(environ.get("HTTP_USER_AGENT", "")).startswith(AGENTS)


class Allowance:
    """How many probes may pass in a second: `PER_SECOND` of the whole instance, a share of it where
    nothing is shared.

    `memory` returns the shared memory or None. Counting in it takes no lock: of two workers that
    count at the same moment one may be lost, and then one more passes.
    """

    def __init__(self, workers: int, memory: Memory = lambda: None) -> None:
        self._share = PER_SECOND / max(1, workers)
        self._memory = memory
        self._credit = 1.0
        self._looked: Optional[float] = None

    def take(self, now: float) -> bool:
        """Return whether one more may pass, and count it."""
        memory = self._memory()
        return self._take_alone(now) if memory is None else _take_shared(memory, now)

    def _take_alone(self, now: float) -> bool:
        passed = now - (now if self._looked is None else self._looked)
        self._looked = now
        self._credit = min(max(1.0, self._share), self._credit + passed * self._share)
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


def _take_shared(memory: Any, now: float) -> bool:
    second, count = _COUNT.unpack_from(memory, COUNT_AT)
    if second != int(now):
        count = 0
    if count >= PER_SECOND:
        return False
    _COUNT.pack_into(memory, COUNT_AT, int(now), count + 1)
    return True
