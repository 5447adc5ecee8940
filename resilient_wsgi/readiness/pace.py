"""How long a load may take, and when a worker whose load failed may try again."""

from __future__ import annotations

import random

from ..settings.options import Readiness

JITTER = 0.2
WORKER_LIMIT = 60.0


def pause(failures: int, options: Readiness) -> float:
    """Return the pause after so many failures in a row: it doubles, up to MAX_PAUSE, less up to a
    fifth by chance.
    """
    longest = min(options.max_pause, options.first_pause * 2.0 ** min(failures - 1, 30))
    return longest * (1 - JITTER * random.random())  # noqa: S311 - not a secret


def load_limit(options: Readiness) -> float:
    """Return how long the load of a worker may take, 0 for ever."""
    return WORKER_LIMIT if options.startup_timeout is None else options.startup_timeout
