"""Empty a running uWSGI instance before it is stopped: readiness says no, what waits is served, the
workers go.

For Kubernetes' preStop hook: SIGTERM comes when this has ended, and finds nothing left to lose.
Exit code 0: no worker serves any more, 1: some still did when the time was up, 2: could not be
done.
"""

from __future__ import annotations

import argparse
import time

from ..readiness.board import LOADING, PAUSING, SERVING, UNWATCHED
from ..readiness.glance import Glance
from . import ready, target
from .output import say

LOOK_EVERY = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb `drain` takes."""
    target.add_target(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        help="seconds to wait for the workers (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Start it, wait for it, return 0 or 1."""
    pid = target.master(arguments)
    board = ready.board_of(pid, to_drain=True)
    if any(slot.state == UNWATCHED and slot.alive() for slot in board.slots):
        raise ready.Unwatched(pid, "the app's settings have switched it off")
    board.drain(time.monotonic())
    end = time.monotonic() + arguments.timeout
    while _serving(board):
        if time.monotonic() >= end:
            say(f"{_serving(board)} workers still serve after {arguments.timeout:g} s")
            return 1
        time.sleep(LOOK_EVERY)
        board.look()
    say("drained")
    return 0


def _serving(board: Glance) -> int:
    return sum(slot.state in (SERVING, LOADING, PAUSING) for slot in board.slots)
