"""When a worker that failed may try again."""

from __future__ import annotations

import random

from ..settings import Readiness

JITTER = 0.2


def pause(failures: int, options: Readiness) -> float:
    """Return the pause after so many failures in a row: it doubles, up to MAX_PAUSE, less up to a fifth by chance."""
    longest = min(options.max_pause, options.first_pause * 2.0 ** min(failures - 1, 30))
    return longest * (1 - JITTER * random.random())  # noqa: S311 - not a secret
