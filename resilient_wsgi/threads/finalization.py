"""Our stand-in for what the interpreter does about threads when it ends: it joins every non-daemon
one without a limit.

`threading._shutdown` is private, and each name that it needs may go: what is missing is not
replaced, and the exit is then bounded by the fuse alone.

CPython 3.15 calls `_shutdown` again for as long as the state of a non-daemon thread exists
(Python/pylifecycle.c, `wait_for_thread_shutdown`), so a thread that is left behind would keep the
process in that loop for ever. There, all threads are started as daemons as far as C is concerned,
and what Python promises about the others is kept here.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import threading
from typing import Any, Callable, Iterable, Iterator, Optional

from .. import servers
from ..core import frames
from ..core.guard import Guard
from . import adoption as adopt
from .bounded_call import bounded
from .exit_timer import LOG_SECONDS, CutShort

LOOPS = sys.version_info >= (3, 15)
_threading: Any = threading
_guard = Guard("threads")


class Standin:
    """What replaces `threading._shutdown`, and on CPython 3.15 `threading._start_joinable_thread`,
    too.
    """

    def __init__(self) -> None:
        self._original: Optional[Callable[[], None]] = None
        self._start: Optional[Callable[..., Any]] = None
        self._pid = 0
        self._leaves_pid = 0
        self._stale_pid = 0
        self.missing = ""  # what this CPython does not have

    def replace(self) -> None:
        """Put it in place; doing it again does nothing."""
        self.belongs_here()
        if self._original is not None:
            return
        self.missing = _missing()
        if self.missing:
            return
        self._original, _threading._shutdown = _threading._shutdown, self.shutdown
        if LOOPS:
            self._start, _threading._start_joinable_thread = (
                _threading._start_joinable_thread,
                self.start_for_c,
            )

    def restore(self) -> None:
        """Give the interpreter its own functions back; where somebody has replaced ours, ours stays
        and does nothing.
        """
        self._pid = 0
        if self._start is not None:
            if _threading._start_joinable_thread == self.start_for_c:
                _threading._start_joinable_thread = self._start
            if any(_not_joined_by_c(thread) for thread in adopt.listed()):
                return  # the interpreter's own function would not wait for these any more
        if self._original is not None and _threading._shutdown == self.shutdown:
            _threading._shutdown = self._original
            self._original = self._start = None

    def belongs_here(self) -> None:
        """Note that the exit of this process is bounded; what it forks unknown to the server waits
        for its threads as ever.
        """
        self._pid = os.getpid()

    def leaves_threads(self) -> None:
        """Note that threads of this process are left behind."""
        self._leaves_pid = os.getpid()

    def found_stale(self, threads: Iterable[threading.Thread]) -> None:
        """Note which threads a fork has left behind: states of theirs may keep CPython 3.15 in its
        loop.
        """
        if any(not thread.daemon and not _started_for_c(thread) for thread in threads):
            self._stale_pid = os.getpid()

    def _may_loop(self) -> bool:
        return LOOPS and self._stale_pid == os.getpid() and bool(frames.why_not())

    def start_for_c(self, function: Any, *, handle: Any = None, daemon: bool = True) -> Any:
        """Start a thread that C takes for a daemon, whatever Python says."""
        start: Any = self._start
        if daemon:
            return start(function, handle=handle, daemon=True)
        try:
            started = start(function, handle=handle, daemon=True)
        except RuntimeError:  # an interpreter that allows no daemons (Py_NewInterpreterFromConfig)
            return start(function, handle=handle, daemon=False)
        owner = getattr(function, "__self__", None)
        if owner is not None:
            owner._resilient_wsgi_joined_by_us = True
        return started

    def shutdown(self) -> None:
        """Wait as the plan has it, or, where this process is none of ours, as the interpreter does."""
        original = self._original or _nothing
        if self._pid != os.getpid():
            original()  # first: it tells the threads of executors to end
            _join_as_ever()
            return
        server = servers.detect()
        with _step():
            server.stopping()
        with _step():
            adopt.release_executors()
        if server.may_leave and (self._leaves_pid == os.getpid() or self._may_loop()):
            try:
                _run_exit_functions()
            finally:
                server.leave()
        if LOOPS and any(_holds_up_c(thread) for thread in adopt.listed()):
            # started before us: not to wait for it would never end, as it does not without us
            original()
        else:
            _without_join(original)


@contextlib.contextmanager
def _step() -> Iterator[None]:
    """Keep one step of an exit, when it raises or is cut short, from keeping the others from
    running.
    """
    with contextlib.suppress(CutShort):
        try:
            yield
        except Exception as error:
            # in a thread of its own: one that is left behind may hold the lock of a log handler
            bounded(functools.partial(_guard.report, error), LOG_SECONDS)


def _run_exit_functions() -> None:
    """Run what the interpreter runs at its end.

    Not its finalization, into which the threads left behind would run.
    """
    for call in reversed(getattr(threading, "_threading_atexits", ())):
        with _step():
            call()
    run = getattr(
        atexit, "_run_exitfuncs", _nothing
    )  # what Py_FinalizeEx calls; prints what a handler raises and goes on
    with _step(), contextlib.suppress(Exception):  # CPython 3.9 raises the last one again
        run()
    if getattr(atexit, "_ncallbacks", int)():  # cut short before it began
        with _step(), contextlib.suppress(Exception):
            run()
    for stream in (sys.stdout, sys.stderr):
        with _step():
            stream.flush()


def _without_join(shutdown: Callable[[], None]) -> None:
    """Call the interpreter's own function with nobody left to wait for: all have ended or are left
    behind.
    """
    if hasattr(threading, "_thread_shutdown"):  # CPython 3.13: the list is in C
        joining, _threading._thread_shutdown = _threading._thread_shutdown, _nothing
        try:
            shutdown()
        finally:
            _threading._thread_shutdown = joining
    else:
        _threading._shutdown_locks.clear()
        shutdown()


def _join_as_ever() -> None:
    """Join the threads for which the interpreter would have waited, had it started them itself."""
    while True:
        waiting = [
            thread
            for thread in adopt.listed()
            if _not_joined_by_c(thread) and adopt.runs_here(thread)
        ]
        waiting = [thread for thread in waiting if thread is not threading.current_thread()]
        if not waiting:
            return
        for thread in waiting:
            thread.join()


def _not_joined_by_c(thread: threading.Thread) -> bool:
    return _started_for_c(thread) and thread.is_alive()


def _holds_up_c(thread: threading.Thread) -> bool:
    return not thread.daemon and not _started_for_c(thread) and adopt.runs_here(thread)


def _started_for_c(thread: threading.Thread) -> bool:
    return bool(getattr(thread, "_resilient_wsgi_joined_by_us", False))


def _missing() -> str:
    needed = ["_shutdown"]
    if LOOPS:
        needed.append("_start_joinable_thread")
    if not hasattr(threading, "_thread_shutdown"):
        needed.append("_shutdown_locks")
    return ", ".join(f"threading.{name}" for name in needed if not hasattr(threading, name))


def _nothing() -> None:
    return None


_standin = Standin()
replace, restore = _standin.replace, _standin.restore
belongs_here, leaves_threads, found_stale = (
    _standin.belongs_here,
    _standin.leaves_threads,
    _standin.found_stale,
)


def missing() -> str:
    """Return the private names that this CPython does not have, without which the interpreter's own
    wait stays.
    """
    return _standin.missing
