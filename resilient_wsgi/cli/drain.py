"""Empty a running uWSGI instance before it is stopped: readiness says no, what waits is served, the
workers go.

For Kubernetes' preStop hook: SIGTERM comes when this has ended, and finds nothing left to lose.
"""

from __future__ import annotations

import argparse
import time

from ..readiness.board import LOADING, PAUSING, SERVING, UNWATCHED
from ..readiness.glance import Glance
from . import ready, target
from .output import answer

EXIT_CODES = {
    0: "no worker serves any more",
    1: "some workers still served when the time was up",
    2: "it could not be done",
}
JSON = {"pid": "the master", "serving": "how many workers still serve"}
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
    serving = _serving(board)
    while serving and time.monotonic() < end:
        time.sleep(LOOK_EVERY)
        board.look()
        serving = _serving(board)
    line = f"{serving} workers still serve after {arguments.timeout:g} s" if serving else "drained"
    answer(arguments, {"pid": pid, "serving": serving}, [line])
    return 1 if serving else 0


def _serving(board: Glance) -> int:
    return sum(slot.state in (SERVING, LOADING, PAUSING) for slot in board.slots)
