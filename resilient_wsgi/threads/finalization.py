"""What the interpreter does about threads when it ends, replaced by an exit that ends in time.

The interpreter joins every non-daemon thread without a limit, in the private
`threading._shutdown`. Each name that this module needs may go in a later CPython: then nothing is
replaced, and `ExitTimer` alone limits the exit.

CPython 3.15 calls `_shutdown` again for as long as the state of a non-daemon thread exists
(Python/pylifecycle.c, `wait_for_thread_shutdown`), so an abandoned thread would keep the process in
that loop forever. There, C starts every thread as a daemon, and this module keeps what Python
promises about non-daemons.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import sys
import threading
from typing import Any, Callable, Iterable, Iterator

from .. import servers
from ..core import frames
from ..core.guard import Guard
from ..core.patching import Patches
from ..core.system import PerProcess
from . import adoption
from .bounded_call import bounded
from .exit_timeouts import LOG_BEFORE_CUT_SECONDS
from .live_threads import listed, runs_here

LOOPS = sys.version_info >= (3, 15)
_threading: Any = threading
_guard = Guard("threads")


class CutShort(BaseException):
    """Raised in an exit function that holds up the exit, so that those after it run.

    Without it the process would be killed before they run.
    """


class _ProcessState:
    """What is true of one process only: a fork begins without."""

    def __init__(self) -> None:
        self.limited = False  # its exit ends in time
        self.abandons_threads = False
        self.has_stale_threads = False  # their states may keep CPython 3.15 in its loop


class Finalization:
    """Replaces `threading._shutdown`; on CPython 3.15 also `threading._start_joinable_thread`."""

    def __init__(self) -> None:
        self._shutdown = Patches(passing=True)
        self._start = Patches(passing=True)
        self._starts_daemons = False
        self._here = PerProcess(_ProcessState)
        self.missing = ""  # the private names that this CPython does not have

    def replace(self) -> None:
        """Put the replacements in place. Idempotent."""
        self.belongs_here()
        self.missing = _missing()
        if self.missing:
            return
        self._shutdown.wrap(threading, "_shutdown", self._make_shutdown)
        if LOOPS:
            self._starts_daemons = True
            self._start.wrap(threading, "_start_joinable_thread", self._make_start)

    def restore(self) -> None:
        """Give the interpreter its own functions back.

        A replacement that another library has wrapped in turn stays, and passes calls through.
        """
        self._here.get().limited = self._starts_daemons = False
        self._start.restore()
        # the interpreter's own function would not wait for threads that C takes for daemons
        if not any(_not_joined_by_c(thread) for thread in listed()):
            self._shutdown.restore()

    def belongs_here(self) -> None:
        """Limit the exit of this process.

        A process that it forks without the server's knowledge waits for its threads as ever.
        """
        self._here.get().limited = True

    def abandons_threads(self) -> None:
        """Note that threads of this process are abandoned."""
        self._here.get().abandons_threads = True

    def found_stale(self, threads: Iterable[threading.Thread]) -> None:
        """Note the stale threads of this process."""
        if any(not thread.daemon and not _started_for_c(thread) for thread in threads):
            self._here.get().has_stale_threads = True

    def _make_start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def start(function: Any, *, handle: Any = None, daemon: bool = True) -> Any:
            if daemon or not self._starts_daemons:
                return original(function, handle=handle, daemon=daemon)
            return _start_for_c(original, function, handle)

        return start

    def _make_shutdown(self, original: Callable[[], None]) -> Callable[[], None]:
        def shutdown() -> None:
            here = self._here.get()
            if here.limited:
                _shut_down_in_time(here, original)
            else:
                original()  # first: it notifies the threads of executors to end
                _join_like_the_interpreter()

        return shutdown


finalization = Finalization()


def _start_for_c(start: Callable[..., Any], function: Any, handle: Any) -> Any:
    """Start a non-daemon thread that C takes for a daemon."""
    try:
        started = start(function, handle=handle, daemon=True)
    except RuntimeError:  # an interpreter that allows no daemons (Py_NewInterpreterFromConfig)
        return start(function, handle=handle, daemon=False)
    owner = getattr(function, "__self__", None)
    if owner is not None:
        owner._resilient_wsgi_joined_by_us = True
    return started


def _shut_down_in_time(here: _ProcessState, original: Callable[[], None]) -> None:
    server = servers.detect()
    with _step():
        server.stopping()
    with _step():
        adoption.release_executors()
    if server.may_exit and (here.abandons_threads or _may_loop(here)):
        try:
            _run_exit_functions()
        finally:
            server.exit()
    if LOOPS and any(_holds_up_c(thread) for thread in listed()):
        # started before the replacement: the loop does not end before them, as without us
        original()
    else:
        _without_join(original)


def _may_loop(here: _ProcessState) -> bool:
    return LOOPS and here.has_stale_threads and bool(frames.why_not())


@contextlib.contextmanager
def _step() -> Iterator[None]:
    """Run the following steps of an exit even if this one raises or is cut short."""
    with contextlib.suppress(CutShort):
        try:
            yield
        except Exception as error:
            # in a thread of its own: an abandoned thread may hold the lock of a log handler
            bounded(functools.partial(_guard.report, error), LOG_BEFORE_CUT_SECONDS)


def _run_exit_functions() -> None:
    """Run the exit functions of the interpreter, but not its finalization.

    The abandoned threads would run into that.
    """
    for call in reversed(getattr(threading, "_threading_atexits", ())):
        with _step():
            call()
    # what Py_FinalizeEx calls; it prints what a handler raises and goes on
    run = getattr(atexit, "_run_exitfuncs", _nothing)
    with _step(), contextlib.suppress(Exception):  # CPython 3.9 raises the last one again
        run()
    if getattr(atexit, "_ncallbacks", int)():  # cut short before it began
        with _step(), contextlib.suppress(Exception):
            run()
    for stream in (sys.stdout, sys.stderr):
        with _step():
            stream.flush()


def _without_join(shutdown: Callable[[], None]) -> None:
    """Call the interpreter's own function with no thread left to wait for."""
    if hasattr(threading, "_thread_shutdown"):  # CPython 3.13: the list is in C
        patches = Patches(passing=True)
        patches.wrap(threading, "_thread_shutdown", lambda _joins: lambda: None)
        try:
            shutdown()
        finally:
            patches.restore()
    else:
        _threading._shutdown_locks.clear()
        shutdown()


def _join_like_the_interpreter() -> None:
    """Join the threads for which the interpreter would have waited, had it started them itself."""
    while True:
        waiting = [thread for thread in listed() if _not_joined_by_c(thread) and runs_here(thread)]
        waiting = [thread for thread in waiting if thread is not threading.current_thread()]
        if not waiting:
            return
        for thread in waiting:
            thread.join()


def _not_joined_by_c(thread: threading.Thread) -> bool:
    return _started_for_c(thread) and thread.is_alive()


def _holds_up_c(thread: threading.Thread) -> bool:
    return not thread.daemon and not _started_for_c(thread) and runs_here(thread)


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
