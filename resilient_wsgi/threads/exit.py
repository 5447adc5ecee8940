"""The bounded exit: told to stop, wait a little, name what is left with its stack, and let the process go."""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
import time
from typing import Any, Callable, List, Optional

from .. import servers, settings
from ..events import ThreadAbandoned, ThreadHoldsExit, emit
from ..guard import Guard
from ..settings import Threads
from . import adopt, ghosts
from .bounded import bounded
from .fuse import Fuse
from .origin import UNKNOWN, stack_of
from .registry import registry

LOG_SECONDS = 0.5  # what naming the threads that are left behind may take

_guard = Guard("threads")
_options = Threads()
_bounding = False
_original: Optional[Callable[[], None]] = None
_mine = 0
_left_behind_pid = 0


def hook_into_server() -> None:
    """Have the server's start and stop of its processes reach the registry. Doing it again does nothing."""
    server = servers.detect()
    server.on_child_start(_child_started)
    server.on_worker_stop(stop)


def bound(options: Threads, *, bounding: bool) -> None:
    """Set the limits; with `bounding`, the interpreter's own wait for threads at its end is bounded as well."""
    global _options, _bounding, _original, _mine
    if not bounding:
        unbound()
    _options, _bounding, _mine = options, bounding, os.getpid()
    hook_into_server()
    if bounding and _original is None:
        _original = threading._shutdown  # type: ignore[attr-defined]
        threading._shutdown = _shutdown  # type: ignore[attr-defined]


def unbound() -> None:
    """Give the interpreter its own wait back."""
    global _bounding, _original, _options
    _bounding, _options = False, Threads()
    if _original is not None and threading._shutdown is _shutdown:  # type: ignore[attr-defined]
        threading._shutdown = _original  # type: ignore[attr-defined]
        _original = None


def _child_started() -> None:
    global _mine
    _mine = os.getpid()
    with _guard:
        if _bounding:
            servers.detect().obey()
            ghosts.lay()
        elif _options.mode == settings.REPORT:
            ghosts.name()
    registry.start_here()


def stop() -> None:
    """Stop the threads of this process, as its server does when it ends. Never raises; takes GRACE and what the log takes."""
    global _left_behind_pid
    identity = servers.detect().identity()
    reason = f"{identity.role} {identity.number or identity.pid} ends"
    registry.tell_process(reason)
    begun = time.monotonic()
    told: List[threading.Thread] = []
    if _bounding:
        with _guard:
            Fuse(_options.fuse).light()
        told = adopt.tell(_options)
    left = [life.thread for life in registry.stop(reason, begun + _options.grace)]
    if _bounding:
        left += _await(told, begun)
    elif _options.mode == settings.REPORT:
        _report()
    if left:
        adopt.leave_behind(left)
        _left_behind_pid = os.getpid()
        # in a thread of its own: one of those left behind may hold the lock of a log handler
        bounded(functools.partial(_name, left, reason, time.monotonic() - begun), LOG_SECONDS)


def _await(told: List[threading.Thread], begun: float) -> List[threading.Thread]:
    """Wait for the threads that hold up the exit, for those that could not be told a shorter time; return who is left."""
    end = begun + _options.grace
    ends = dict.fromkeys(told, end)
    untold_end = min(end, begun + _options.untold_grace)
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
        emit(ThreadAbandoned(thread.name, reason, waited, stack, str(adopt.origin(thread) or UNKNOWN)))


def _report() -> None:
    for thread in adopt.holding([]):
        emit(ThreadHoldsExit(thread.name, stack_of(thread), str(adopt.origin(thread) or UNKNOWN)))


def _shutdown() -> None:
    """Stand in for `threading._shutdown`, which joins every non-daemon thread without a limit."""
    original = _original or _nothing
    if not _bounding or _mine != os.getpid():  # a child of ours that the server knows nothing of: multiprocessing
        original()
        return
    server = servers.detect()
    with _guard:
        server.stopping()
        adopt.release_executors()
    if _left_behind_pid == os.getpid() and server.may_leave:
        _finish()
        server.leave()
    _without_join(original)


def _finish() -> None:
    """Run what the interpreter runs at its end. Not its finalization, into which the threads left behind would run."""
    for call in reversed(getattr(threading, "_threading_atexits", ())):
        with _guard:
            call()
    atexit._run_exitfuncs()  # what Py_FinalizeEx calls; prints what a handler raises and goes on
    for stream in (sys.stdout, sys.stderr):
        with _guard:
            stream.flush()


def _without_join(shutdown: Callable[[], None]) -> None:
    """Call the interpreter's own function with nobody left to wait for: all have ended or are left behind."""
    if hasattr(threading, "_thread_shutdown"):  # CPython 3.13: the list is in C
        joining: Any = threading._thread_shutdown
        threading._thread_shutdown = _nothing
        try:
            shutdown()
        finally:
            threading._thread_shutdown = joining
    else:
        threading._shutdown_locks.clear()  # type: ignore[attr-defined]
        shutdown()


def _nothing() -> None:
    return None
