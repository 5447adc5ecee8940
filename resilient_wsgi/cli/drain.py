"""Drain a running uWSGI instance before it is stopped: readiness fails, the queued requests are
served, the workers exit.

For Kubernetes' preStop hook: when this ends, SIGTERM finds nothing left to lose.
"""

from __future__ import annotations

import argparse
import time

from ..readiness.states import LOADING, PAUSING, SERVING, UNWATCHED
from ..shm import snapshot
from ..shm.snapshot import Snapshot
from . import ready, target
from .output import answer

EXIT_CODES = {
    0: "no worker serves any more",
    1: "some workers still served when the timeout expired",
    2: "the instance could not be drained",
}
JSON = {"pid": "the master", "serving": "how many workers still serve"}
POLL_SECONDS = 0.1
GUNICORN = "SIGTERM drains: the master ends when its workers have finished their requests"


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
    """Begin to drain, wait until that is done, return 0 or 1."""
    pid, seen = ready.master_and_scoreboard(arguments, GUNICORN)
    if any(row.state == UNWATCHED and row.alive() for row in seen.workers):
        raise ready.Unwatched(pid, "the app's settings have switched it off")
    try:
        snapshot.drain(seen.directory, time.monotonic())
    except PermissionError:
        target.no_permission(pid)
    end = time.monotonic() + arguments.timeout
    serving = _serving(seen)
    while serving and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        seen.refresh()
        serving = _serving(seen)
    line = f"{serving} workers still serve after {arguments.timeout:g} s" if serving else "drained"
    answer(arguments, {"pid": pid, "serving": serving}, [line])
    return 1 if serving else 0


def _serving(seen: Snapshot) -> int:
    return sum(row.state in (SERVING, LOADING, PAUSING) for row in seen.workers)
