"""The bounded exit: work is finished, the rest is told to stop, what is left is named, and the
process may end.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from typing import Any, List, Tuple

from .. import servers
from ..core.guard import Guard
from ..events import Event, ExitAwaitsWork, JobsAbandoned, ThreadAbandoned, ThreadHoldsExit, emit
from ..settings import options as settings
from ..settings.options import Threads
from . import adoption as adopt, finalization, fork as ghosts, jobs, work
from .bounded_call import bounded
from .exit_timer import Fuse
from .origin import UNKNOWN, stack_of
from .plan import Plan
from .registry import registry
from .ways import executor_of

LOG_SECONDS = 0.5  # what naming the threads that are left behind may take
QUIET_SECONDS = 1.0  # work that takes no longer is not worth a line in the log

_guard = Guard("threads")
_options = Threads()
_bounding = False


def hook_into_server() -> None:
    """Have the server's start and stop of its processes reach the registry.

    Doing it again does nothing.
    """
    server = servers.detect()
    server.hooks.child.add(_child_started)
    server.hooks.stop.add(stop)


def bound(options: Threads, *, bounding: bool) -> None:
    """Set the limits; with `bounding`, the interpreter's own wait for threads at its end is bounded
    as well.
    """
    global _options, _bounding
    _options, _bounding = options, bounding
    hook_into_server()
    if bounding:
        finalization.replace()
    else:
        finalization.restore()


def unbound() -> None:
    """Give the interpreter its own wait back."""
    global _bounding, _options
    _bounding, _options = False, Threads()
    finalization.restore()


def _child_started() -> None:
    with _guard:
        if _bounding:
            finalization.belongs_here()
            servers.detect().end_when_signalled()
            ghosts.lay()
        elif _options.mode == settings.REPORT:
            ghosts.name()
    registry.start_here()


def stop() -> None:
    """Stop the threads of this process, as its server does when it ends.

    Never raises; takes no longer than its plan.
    """
    identity = servers.detect().identity()
    reason = f"{identity.role} {identity.number or identity.pid} ends"
    plan = Plan(_options, servers.detect().mercy(), background=_has_background())
    registry.tell_process(reason)
    told: List[threading.Thread] = []
    if _bounding:
        with _guard:
            Fuse(plan).light()
        with _guard:
            _finish_work(plan, reason)
    until = plan.grace_until(time.monotonic())
    if _bounding:
        told = adopt.tell(_options, until)
    left = [life.thread for life in registry.stop(reason, until)]
    if _bounding:
        left += _await(told, until)
    elif _options.mode == settings.REPORT:
        _report()
    if left:
        adopt.leave_behind(left)
        finalization.leaves_threads()
        # as in _say
        bounded(functools.partial(_name, left, reason, time.monotonic() - plan.begun), LOG_SECONDS)


def _has_background() -> bool:
    """Return whether there are threads that are neither a request's nor an executor's, so that time
    is to be kept for them.
    """
    with _guard:
        unfinished = work.unfinished(-math.inf)
        return len(registry) > 0 or any(
            executor_of(thread) is None and thread not in unfinished for thread in adopt.holding([])
        )
    return True


def _finish_work(plan: Plan, reason: str) -> None:
    """Wait for the threads and jobs that requests have started; nobody is told to stop yet, because
    they may need each other.
    """
    if not servers.detect().waits_for_threads():
        return
    said = False
    while True:
        threads, futures = _work(plan)
        left = plan.work_until - time.monotonic()
        if not (threads or futures):
            return
        if left <= 0:
            break
        if not said and time.monotonic() - plan.begun >= QUIET_SECONDS:
            said = True
            _say(ExitAwaitsWork(_names(threads), len(futures), reason, left))
        # a part of a second while nothing was said; new work may come at any time, from that which
        # is waited for
        seconds = left if said else min(QUIET_SECONDS, left)
        if threads:
            threads[0].join(seconds)
        else:
            jobs.wait(futures, seconds)
    if futures:
        _say(JobsAbandoned(len(futures), reason, time.monotonic() - plan.begun))


def _work(plan: Plan) -> Tuple[List[threading.Thread], List[Any]]:
    oldest = plan.begun - work.AGE_LIMIT * plan.mercy
    return work.due(work.unfinished(oldest), plan.work_until), jobs.unfinished(oldest)


def _names(threads: List[threading.Thread]) -> Tuple[str, ...]:
    return tuple(thread.name for thread in threads)


def _say(event: Event) -> None:
    # in a thread of its own: what the process waits for may hold the lock of a log handler
    bounded(functools.partial(emit, event), LOG_SECONDS)


def _await(told: List[threading.Thread], until: float) -> List[threading.Thread]:
    """Wait for the threads that hold up the exit, for those that could not be told a shorter time;
    return who is left.
    """
    ends = dict.fromkeys(told, until)
    untold_end = min(until, time.monotonic() + _options.unsignalled_grace)
    while True:
        left = adopt.holding(told)
        waited_for = [t for t in left if time.monotonic() < ends.get(t, untold_end)]
        if not waited_for:
            return left
        for thread in waited_for:
            thread.join(max(0.0, ends.get(thread, untold_end) - time.monotonic()))


def _name(threads: List[threading.Thread], reason: str, waited: float) -> None:
    enough = time.monotonic() + LOG_SECONDS / 2
    for thread in threads:
        stack = stack_of(thread) if time.monotonic() < enough else "  (too many to show)"
        emit(
            ThreadAbandoned(
                thread.name, reason, waited, stack, str(adopt.origin(thread) or UNKNOWN)
            )
        )


def _report() -> None:
    for thread in adopt.holding([]):
        emit(ThreadHoldsExit(thread.name, stack_of(thread), str(adopt.origin(thread) or UNKNOWN)))
