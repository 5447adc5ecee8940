"""The exit of a process: finish work, stop threads, abandon what is left, end in time.

Every time limit is in exit_timeouts.py.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import math
import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any, Callable, List, Optional, Tuple

from .. import servers
from ..core import frames
from ..core.guard import Guard
from ..core.log import named
from ..core.text import printable
from ..events import Event, ExitAwaitsWork, JobsAbandoned, ThreadAbandoned, ThreadHoldsExit, emit
from ..settings.options import REPORT, Threads
from . import adoption, fork, work
from .bounded_call import bounded, start_thread
from .exit_timeouts import (
    CUTS,
    KILL_TIMER_SECONDS,
    LOG_BEFORE_CUT_SECONDS,
    LOG_SECONDS,
    QUIET_SECONDS,
    WORK_AGE_FACTOR,
    ExitTimeouts,
)
from .finalization import CutShort, finalization
from .live_threads import executor_of, origin_of
from .origin import UNKNOWN, places, stack_of
from .registered import registry

_guard = Guard("threads")
_logger = named("threads")


class Shutdown:
    """What a process does with its threads when its server ends it."""

    def __init__(self) -> None:
        self._options = Threads()
        self._limited = False

    def configure(self, options: Threads, *, limited: bool) -> None:
        """Set the options; with `limited`, the exit ends in time, the interpreter's part, too."""
        self._options, self._limited = options, limited
        self.hook_into_server()
        if limited:
            finalization.replace()
        else:
            finalization.restore()

    def reset(self) -> None:
        """Give the interpreter its own wait for threads back."""
        self._options, self._limited = Threads(), False
        finalization.restore()

    def hook_into_server(self) -> None:
        """Run when the server starts and stops its processes. Idempotent."""
        server = servers.detect()
        server.hooks.child.add(self._child_started)
        server.hooks.stop.add(self.stop)

    def _child_started(self) -> None:
        with _guard:
            if self._limited:
                finalization.belongs_here()
                servers.detect().end_when_signalled()
                fork.repair()
            elif self._options.mode == REPORT:
                fork.report()
        registry.start_here()

    def stop(self) -> None:
        """Stop the threads of this process. Never raises; takes no longer than its timeouts."""
        identity = servers.detect().identity()
        reason = f"{identity.role} {identity.number or identity.pid} ends"
        mercy = servers.detect().mercy()
        timeouts = ExitTimeouts(self._options, mercy, background=_has_background())
        registry.notify_process(reason)
        notified: List[threading.Thread] = []
        if self._limited:
            with _guard:
                ExitTimer(timeouts).start()
            with _guard:
                _finish_work(timeouts, reason)
        until = timeouts.grace_until(time.monotonic())
        if self._limited:
            notified = adoption.notify(self._options, until)
        left = [run.thread for run in registry.stop(reason, until)]
        if self._limited:
            left += self._wait_for(notified, until)
        elif self._options.mode == REPORT:
            _report()
        if left:
            adoption.abandon(left)
            finalization.abandons_threads()
            waited = time.monotonic() - timeouts.begun
            bounded(functools.partial(_report_abandoned, left, reason, waited), LOG_SECONDS)

    def _wait_for(self, notified: List[threading.Thread], until: float) -> List[threading.Thread]:
        """Wait for the threads that hold up the exit; return those that are left.

        Threads that could not be notified get a shorter time.
        """
        ends = dict.fromkeys(notified, until)
        unsignalled_end = min(until, time.monotonic() + self._options.unsignalled_grace)
        while True:
            left = adoption.holding_exit(notified)
            waited_for = [t for t in left if time.monotonic() < ends.get(t, unsignalled_end)]
            if not waited_for:
                return left
            for thread in waited_for:
                thread.join(max(0.0, ends.get(thread, unsignalled_end) - time.monotonic()))


shutdown = Shutdown()


def _has_background() -> bool:
    """Return whether there are background threads, so that time must be reserved for them.

    Those are all threads that belong to neither a request nor an executor.
    """
    with _guard:
        unfinished = work.unfinished_threads(-math.inf)
        return len(registry) > 0 or any(
            executor_of(thread) is None and thread not in unfinished
            for thread in adoption.holding_exit([])
        )
    return True


def _finish_work(timeouts: ExitTimeouts, reason: str) -> None:
    """Wait for the threads and jobs that requests have started.

    No thread is notified to stop yet, because they may need each other.
    """
    if not servers.detect().waits_for_threads():
        return
    is_logged = False
    while True:
        threads, futures = _unfinished_work(timeouts)
        left = timeouts.work_until - time.monotonic()
        if not (threads or futures):
            return
        if left <= 0:
            break
        if not is_logged and time.monotonic() - timeouts.begun >= QUIET_SECONDS:
            is_logged = True
            names = tuple(thread.name for thread in threads)
            _emit(ExitAwaitsWork(names, len(futures), reason, left))
        # in parts until it is logged; what is waited for may start new work at any time
        seconds = left if is_logged else min(QUIET_SECONDS, left)
        if threads:
            threads[0].join(seconds)
        else:
            work.wait_for_one(futures, seconds)
    if futures:
        _emit(JobsAbandoned(len(futures), reason, time.monotonic() - timeouts.begun))


def _unfinished_work(timeouts: ExitTimeouts) -> Tuple[List[threading.Thread], List[Any]]:
    oldest = timeouts.begun - WORK_AGE_FACTOR * timeouts.mercy
    threads = work.due(work.unfinished_threads(oldest), timeouts.work_until)
    return threads, work.jobs.unfinished(oldest)


def _emit(event: Event) -> None:
    # in a thread of its own: what the process waits for may hold the lock of a log handler
    bounded(functools.partial(emit, event), LOG_SECONDS)


def _report_abandoned(threads: List[threading.Thread], reason: str, waited: float) -> None:
    enough = time.monotonic() + LOG_SECONDS / 2
    for thread in threads:
        stack = stack_of(thread) if time.monotonic() < enough else "  (too many to show)"
        started = str(origin_of(thread) or UNKNOWN)
        emit(ThreadAbandoned(thread.name, reason, waited, stack, started))


def _report() -> None:
    for thread in adoption.holding_exit([]):
        emit(ThreadHoldsExit(thread.name, stack_of(thread), str(origin_of(thread) or UNKNOWN)))


class ExitTimer:
    """The last resort: ends this process in time whatever holds up its exit.

    There are three limits. First the function in which the exit hangs is logged and, if Python can
    interrupt it, cut short by `CutShort`, so that the exit functions after it run. Then the process
    ends itself. Last, the server kills it from outside, which needs no GIL. This works on every
    path, also if nothing else watches (no master; uWSGI's graceful stop, during which the master
    waits in a loop of its own).
    """

    def __init__(self, timeouts: ExitTimeouts) -> None:
        self._timeouts = timeouts
        self._main = _thread.get_ident()
        self._signal = 0

    def start(self) -> None:
        """Start the timer; a no-op if no server expects this process to end in time."""
        server = servers.detect()
        if not server.may_exit and server.mercy() is None:
            return
        # the kill may come up to 1 s early, and a master that has not reaped the process yet would
        # report it as harakiri
        left = self._timeouts.gone_at - time.monotonic()
        server.set_kill_timer(math.ceil(left) + KILL_TIMER_SECONDS)
        self._signal = _claim_signal()
        # two threads, both started now: what hangs may hold the lock of logging
        start_thread(self._log)
        start_thread(self._enforce)

    def _log(self) -> None:
        _sleep_until(self._timeouts.cut_at)
        frame = frames.frame_of(self._main)
        _logger.error(
            "[RW511] the exit of this process is cut short after %.1f s of the %.1f s that it may "
            "take%s; it hangs in\n%s",
            time.monotonic() - self._timeouts.begun,
            self._timeouts.mercy,
            _children(),
            places(frame) if frame else f"(no stacks: {frames.why_not() or 'no Python code'})",
        )

    def _enforce(self) -> None:
        gone_at = self._timeouts.gone_at
        _sleep_until(self._timeouts.cut_at)
        pause = (gone_at - time.monotonic() - LOG_BEFORE_CUT_SECONDS) / CUTS
        time.sleep(LOG_BEFORE_CUT_SECONDS)
        while self._signal and time.monotonic() + pause < gone_at:
            signal.pthread_kill(self._main, self._signal)
            time.sleep(max(0.05, pause))
        _sleep_until(gone_at)
        servers.detect().exit()


def _report_cuts() -> None:
    """Have one line report where an exit function was cut short.

    CPython's own traceback of an exception that it ignores looks like a fault. On 3.9 `atexit`
    calls no hook.
    """
    hook = getattr(sys, "unraisablehook", None)
    if hook is not None and getattr(hook, "func", None) is not _unraisable:
        sys.unraisablehook = functools.partial(_unraisable, hook)


def _unraisable(original: Callable[[Any], object], unraisable: Any) -> None:
    if unraisable.exc_type is not CutShort:
        original(unraisable)
        return
    # as CPython writes its own: `logging` might wait for a lock that is never released
    with contextlib.suppress(Exception):
        place = _place(unraisable)
        sys.stderr.write(
            f"resilient_wsgi: [RW511] cut short to end in time: {place}; what comes after it runs\n"
        )


def _place(unraisable: Any) -> str:
    frames_found = [
        each
        for each in traceback.walk_tb(unraisable.exc_traceback)
        if each[0].f_code is not _cut.__code__
    ]
    if not frames_found:  # in a function of C's
        return printable(repr(unraisable.object) if unraisable.object else str(unraisable.err_msg))
    frame, line = frames_found[0]  # the exit function's own
    return f"{printable(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}"


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _cut(_number: int, _frame: Optional[FrameType]) -> None:
    _report_cuts()
    raise CutShort


def _claim_signal() -> int:
    """Take the last real-time signal without a handler; return 0 if that is not possible.

    Only the main thread can: another one may not set a handler.
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
    """Name the child processes that `multiprocessing` waits for at exit."""
    module = sys.modules.get("multiprocessing.process")
    names = [
        f"{printable(child.name)} (pid {child.pid})" for child in getattr(module, "_children", ())
    ]
    return f" (waiting for child processes: {', '.join(names)})" if names else ""
