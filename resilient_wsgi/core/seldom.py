"""Report the same thing only once in a while, with the count of what came in between."""

from __future__ import annotations

from typing import Dict, Hashable, Tuple

from .system import SYSTEM, System

_MOST_KEYS = 1000


class Seldom:
    """What has been reported, and when: by key, at most once in `interval` seconds."""

    def __init__(self, interval: float, system: System = SYSTEM) -> None:
        self._interval = interval
        self._system = system
        self._reported: Dict[Hashable, Tuple[float, int]] = {}

    def due(self, key: Hashable) -> int:
        """Return how many times the one that is due now stands for, 0 if none is due."""
        now = self._system.monotonic()
        reported, since = self._reported.get(key, (-self._interval, 0))
        if now - reported < self._interval:
            self._reported[key] = reported, since + 1
            return 0
        if len(self._reported) >= _MOST_KEYS:
            self._reported.clear()
        self._reported[key] = now, 0
        return since + 1

    def forget(self) -> None:
        """Have the next one be due, whatever was before."""
        self._reported.clear()
