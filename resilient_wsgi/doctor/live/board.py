"""What the scoreboard of an instance says: which workers could not load the app, what runs."""

from __future__ import annotations

import time
from typing import Dict, List, NamedTuple, Optional

from ...errors import Unavailable
from ...readiness import states
from ...shm.layout import NotAScoreboard
from ...shm.snapshot import Snapshot
from .instance import Running

_WITHOUT_APP = (states.FAILED, states.PAUSING)


class Board(NamedTuple):
    """Words for the workers without an app, by pid, and the requests that run, oldest first."""

    apps: Dict[int, str]
    requests: List[Running]


def of(master: int) -> Optional[Board]:
    """Return what the scoreboard of an instance says, None if it has none that may be read."""
    try:
        with Snapshot.of_process(master) as seen:
            return _read(seen)
    except (Unavailable, NotAScoreboard, OSError):
        return None


def _read(seen: Snapshot) -> Board:
    board, now = Board({}, []), time.monotonic()
    for row in seen.rows:
        if not row.alive():
            continue
        if row.state in _WITHOUT_APP:
            board.apps[row.pid] = states.STATES[row.state]
        requests = [Running(row.pid, now - each.begun, each.what) for each in row.requests()]
        board.requests.extend(requests)
    board.requests.sort(key=lambda each: -each.seconds)
    return board
