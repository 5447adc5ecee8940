"""What a worker does, as it stands in its row of the scoreboard."""

from __future__ import annotations

STARTED, PAUSING, LOADING, SERVING, FAILED, EXITED, DRAINED, UNWATCHED = range(8)
# as exec probes print them
STATES = (
    "started",
    "pausing",
    "loading",
    "serving",
    "failed to load",
    "exited",
    "drained",
    "not watched",
)
