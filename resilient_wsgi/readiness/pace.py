"""When a worker that failed may try again: pauses that grow, and never so many respawns that the master goes to sleep."""

from __future__ import annotations

import random
from typing import Tuple

from ..settings import Readiness
from .board import FAILED, LEFT, LOADING, Board, Slot

# uWSGI's master sleeps for 2 s, and with it harakiri, when more workers than there are were respawned in a row, each less than
# two of its whole seconds after the one before (core/master.c, "worker respawning too fast")
QUIET_SECONDS = 2.1
JITTER = 0.2


def pause(failures: int, options: Readiness) -> float:
    """Return the pause after so many failures in a row: it doubles, up to MAX_PAUSE, less up to a fifth by chance."""
    longest = min(options.max_pause, options.first_pause * 2.0 ** min(failures - 1, 30))
    return longest * (1 - JITTER * random.random())  # noqa: S311 - not a secret


def note_spawn(board: Board, slot: Slot, now: float) -> None:
    """Count as the master counts. `now` is of the wall clock, in seconds; the caller holds the board's lock."""
    head = board.head
    if slot.spawns == 0 or now - head.last_spawn > QUIET_SECONDS:
        head.respawn_run = 0 if slot.spawns == 0 else 1
    else:
        head.respawn_run += 1
    head.last_spawn = now
    slot.spawns += 1


def hold(board: Board, mine: Slot, now: float) -> float:
    """Return how long a worker that has failed before must still wait before it loads, 0 if it may.

    Its load may fail at once and cost a respawn, as may those of the others that are under way; those that have left
    already are about to cost one. The caller holds the lock.
    """
    return _until_quiet(board, mine, now, (FAILED, LEFT, LOADING))


def hold_leaving(board: Board, mine: Slot, now: float) -> float:
    """Return how long a worker whose load has just failed must still wait before it leaves, 0 if it may.

    Only where many were started a moment ago: loads that nobody held back, because they were the first. The caller holds
    the lock.
    """
    return _until_quiet(board, mine, now, (FAILED, LEFT))


def _until_quiet(board: Board, mine: Slot, now: float, costly: Tuple[int, ...]) -> float:
    head = board.head
    quiet_in = head.last_spawn + QUIET_SECONDS - now
    run = head.respawn_run if quiet_in > 0 else 0
    others = (slot for slot in board.started() if slot.pid != mine.pid)
    expected = sum(slot.state in costly or not slot.alive() for slot in others)
    return quiet_in if run and run + expected >= head.slots else 0.0
