"""The last resort of an exit: this process ends in time whatever holds it up, and everybody's exit
functions run.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import math
import signal
import sys
import time
import traceback
from types import FrameType
from typing import Any, Callable, List, Optional

from .. import servers
from ..core import frames
from ..core.log import named
from ..core.text import printable
from . import late
from .origin import places
from .plan import Plan

LOG_SECONDS = 0.25  # between naming what holds up the exit and cutting it short
OUTER_SECONDS = 3
CUTS = 4  # how many exit functions that hang may be cut short before the process ends

_logger = named("threads")


class CutShort(BaseException):
    """Raised in an exit function that holds up the exit, so that those after it run: it would be
    killed otherwise.
    """


class Fuse:
    """Three limits on an exit that has begun.

    First the function that the exit hangs in is named and, if Python can interrupt it, cut short by
    `CutShort`; then the process ends itself; and the server kills it from outside, which needs no
    GIL. This works on every path, also those on which nobody else looks (no master, uWSGI's
    graceful stop, during which the master waits in a loop of its own).
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._main = _thread.get_ident()
        self._signal = 0

    def light(self) -> None:
        """Begin to count. Where no server is to end this process in time, nothing is done."""
        server = servers.detect()
        if not server.may_leave and server.mercy() is None:
            return
        # it may come up to 1 s early, and a master that has not reaped us yet would speak of
        # harakiri
        server.set_kill_timer(math.ceil(self._plan.gone_at - time.monotonic()) + OUTER_SECONDS)
        self._signal = _free_signal()
        # two threads, both started now: whoever hangs may have the lock of logging
        late.begin(self._say)
        late.begin(self._burn)

    def _say(self) -> None:
        _sleep_until(self._plan.cut_at)
        frame = frames.frame_of(self._main)
        _logger.error(
            "the exit of this process has taken %.1f s of the %.1f s that it may and is cut short%s; it stood in\n%s",
            time.monotonic() - self._plan.begun,
            self._plan.mercy,
            _children(),
            places(frame) if frame else f"(no stacks: {frames.why_not() or 'no Python code'})",
        )

    def _burn(self) -> None:
        _sleep_until(self._plan.cut_at)
        pause = (self._plan.gone_at - time.monotonic() - LOG_SECONDS) / CUTS
        time.sleep(LOG_SECONDS)
        while self._signal and time.monotonic() + pause < self._plan.gone_at:
            signal.pthread_kill(self._main, self._signal)
            time.sleep(max(0.05, pause))
        _sleep_until(self._plan.gone_at)
        servers.detect().leave()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _cut(_number: int, _frame: Optional[FrameType]) -> None:
    hook = getattr(sys, "unraisablehook", None)
    if hook is not None and getattr(hook, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, hook)
    raise CutShort


def _unraisable(original: Callable[[Any], object], unraisable: Any) -> None:
    """Say in one line where an exit function was cut short; CPython's traceback of what it ignores
    looks like a fault.

    Written as CPython would write its own: `logging` might wait for a lock that is never released.
    (On 3.9 `atexit` asks no hook.)
    """
    if unraisable.exc_type is not CutShort:
        original(unraisable)
        return
    with contextlib.suppress(Exception):
        sys.stderr.write(
            f"resilient_wsgi: cut short to end in time: {_place(unraisable)}; what comes after it runs\n"
        )


def _place(unraisable: Any) -> str:
    found = [
        each
        for each in traceback.walk_tb(unraisable.exc_traceback)
        if each[0].f_code is not _cut.__code__
    ]
    if not found:  # in a function of C's
        return printable(repr(unraisable.object) if unraisable.object else str(unraisable.err_msg))
    frame, line = found[0]  # the exit function's own
    return f"{printable(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}"


def _free_signal() -> int:
    """Take the last real-time signal that has no handler; return 0 where there is none, or this is
    not the first thread.
    """
    for number in range(getattr(signal, "SIGRTMAX", 0), getattr(signal, "SIGRTMIN", 1), -1):
        if signal.getsignal(number) is signal.SIG_DFL:
            try:
                signal.signal(number, _cut)
            except (ValueError, OSError):
                return 0
            return number
    return 0


def _children() -> str:
    """Name the processes that `multiprocessing` waits for at exit."""
    module = sys.modules.get("multiprocessing.process")
    names: List[str] = [
        f"{printable(child.name)} (pid {child.pid})" for child in getattr(module, "_children", ())
    ]
    return f" (child processes that still run: {', '.join(names)})" if names else ""
