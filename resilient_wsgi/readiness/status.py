"""Whether this worker is ready: the app is loaded, it is not draining, its queue is short, all
checks say so.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, List, Optional, Tuple

from .. import servers
from ..core.system import SYSTEM
from ..host import sockets
from ..settings.options import Readiness
from . import checks

if TYPE_CHECKING:
    from .board import Board

board: Optional[Board] = None
options = Readiness()
_draining_alone = False


def draining() -> bool:
    """Return whether the instance is being emptied."""
    return bool(_draining_alone if board is None else board.head.draining)


def drain() -> None:
    """Have readiness say no from now on, in all workers, then have each serve what waits in the
    listen queue, and go.

    Returns at once. Workers go on serving for DRAIN_DELAY, because whoever sends requests is slow
    to learn of it; then each goes as soon as the queue is empty, and what takes its place serves
    nothing. The instance itself stays until it is told to stop. Outside uWSGI only the first half
    is done: readiness says no.
    """
    global _draining_alone
    if board is None:
        _draining_alone = True
    else:
        board.head.draining = board.head.draining or SYSTEM.monotonic()


def report() -> List[Tuple[str, str]]:
    """Return of everything that readiness depends on its name and what is wrong with it, "" if
    nothing is.
    """
    checks.start()
    return [
        ("app", "" if servers.detect().loaded() is not False else "not loaded"),
        ("draining", "on its way out" if draining() else ""),
        ("queue", _queue()),
        *checks.problems(),
    ]


def degraded() -> str:
    """Return which of its apps this worker has not, where it serves others; "" if it has all."""
    worker = servers.detect().identity().worker
    return board.slot(worker).degraded if board is not None and worker else ""


def problem() -> str:
    """Return all that is wrong, in one line; "" if this worker is ready."""
    return "; ".join(f"{name}: {wrong}" for name, wrong in report() if wrong)


def queue_depth() -> int:
    """Return how many connections wait in this server's listen queues; 0 where that cannot be
    known.
    """
    depth = 0
    for fd in servers.detect().listening():
        with contextlib.suppress(OSError):
            depth += sockets.listener(fd).depth
    return depth


def _queue() -> str:
    if not options.queue_mark:
        return ""
    depth = queue_depth()
    return (
        f"{depth} connections wait, the mark is {options.queue_mark}"
        if depth >= options.queue_mark
        else ""
    )
