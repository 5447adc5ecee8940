"""The bounded exit: told to stop, wait a little, name what is left with its stack, and let the process go."""

from __future__ import annotations

import atexit
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
from .fuse import Fuse
from .origin import UNKNOWN, stack_of
from .registry import registry

_guard = Guard("threads")
_options = Threads()
_bounding = False
_original: Optional[Callable[[], None]] = None
_left_behind_pid = 0


def hook_into_server() -> None:
    """Have the server's start and stop of its processes reach the registry. Doing it again does nothing."""
    server = servers.detect()
    server.on_child_start(_child_started)
    server.on_worker_stop(stop)


def bound(options: Threads, *, bounding: bool) -> None:
    """Set the limits; with `bounding`, the interpreter's own wait for threads at its end is bounded as well."""
    global _options, _bounding, _original
    _options, _bounding = options, bounding
    hook_into_server()
    if bounding and _original is None:
        _original = threading._shutdown  # type: ignore[attr-defined]
        threading._shutdown = _shutdown  # type: ignore[attr-defined]
    elif not bounding:
        unbound()


def unbound() -> None:
    """Give the interpreter its own wait back."""
    global _bounding, _original, _options
    _bounding, _options = False, Threads()
    if _original is not None and threading._shutdown is _shutdown:  # type: ignore[attr-defined]
        threading._shutdown = _original  # type: ignore[attr-defined]
        _original = None


def _child_started() -> None:
    if _bounding:
        with _guard:
            servers.detect().obey_while_starting()
    with _guard:
        ghosts.lay()
    registry.start_here()


def stop() -> None:
    """Stop the threads of this process, as its server does when it ends. Never raises, never longer than GRACE."""
    global _left_behind_pid
    identity = servers.detect().identity()
    reason = f"{identity.role} {identity.number or identity.pid} ends"
    if _options.mode == settings.REPORT:
        registry.tell_process(reason)
        _report()
        return
    if _bounding:
        Fuse(_options.fuse).light()
    registry.tell_process(reason)
    begun = time.monotonic()
    adopted = adopt.tell(_options) if _bounding else []
    left = [life.thread for life in registry.stop(reason, begun + _options.grace)]
    left += _await(adopted, begun)
    for thread in left:
        with _guard:
            _name(thread, reason)
    if left:
        adopt.leave_behind(left)
        _left_behind_pid = os.getpid()


def _await(told: List[threading.Thread], begun: float) -> List[threading.Thread]:
    """Wait for threads that hold up the interpreter's end, those that could not be told for a shorter time."""
    if not _bounding:
        return []
    deadline = begun + _options.grace
    untold_deadline = min(deadline, begun + _options.untold_grace)
    while True:
        now = time.monotonic()
        left = adopt.holding(told)
        waited_for = next((t for t in left if now < (deadline if t in told else untold_deadline)), None)
        if waited_for is None:
            return left
        waited_for.join((deadline if waited_for in told else untold_deadline) - now)


def _name(thread: threading.Thread, reason: str) -> None:
    origin = adopt.origin(thread)
    emit(ThreadAbandoned(thread.name, reason, _options.grace, stack_of(thread), str(origin or UNKNOWN)))


def _report() -> None:
    for thread in adopt.holding([]):
        emit(ThreadHoldsExit(thread.name, stack_of(thread), str(adopt.origin(thread) or UNKNOWN)))


def _shutdown() -> None:
    """Stand in for `threading._shutdown`, which joins every non-daemon thread without a limit."""
    server = servers.detect()
    with _guard:
        server.stopping()
    with _guard:
        adopt.release_executors()
    if _left_behind_pid == os.getpid() and server.may_leave:
        _finish()
        server.leave()
    _without_join(_original or _nothing)


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
