"""Stale threads: objects of threads that did not survive a fork, and claim to be alive.

uWSGI forks without Python's fork callbacks. So in a prefork worker a thread that was started at
import is listed, alive, and joined at exit; and an executor that was used before the fork waits for
its threads forever.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import queue
import sys
import threading
from typing import Any, Callable, Dict, Iterable, List, Sequence

from ..core.guard import Guard
from ..core.log import named
from ..core.text import printable
from ..events import ExecutorRestarted, StaleThread, ThreadRestarted, emit
from .background import run_of
from .finalization import finalization
from .live_threads import alive, executor_of, listed, origin_of, runs_here
from .origin import UNKNOWN

HANDLES = ("_os_thread_handle", "_handle")  # CPython 3.14 and 3.13

_guard = Guard("threads")
_logger = named("threads")


class BeforeFork:
    """The threads that ran before a fork of Python's own (gunicorn's `--preload`).

    `threading` forgets them at such a fork.
    """

    def __init__(self) -> None:
        self._restart: Sequence[str] = ()
        self._threads: List[threading.Thread] = []
        self._remembers = False

    def configure(self, restart: Sequence[str], *, remember: bool = False) -> None:
        """Set the patterns of the names of threads that are restarted after a fork."""
        self._restart = tuple(restart)
        if (restart or remember) and not self._remembers:
            os.register_at_fork(before=self._remember, after_in_parent=self._forget)
            self._remembers = True

    def _remember(self) -> None:
        with _guard:
            self._threads = [thread for thread in alive() if executor_of(thread) is None]

    def _forget(self) -> None:
        self._threads = []

    def take(self) -> List[threading.Thread]:
        """Return the threads that ran before the fork, once, without those restarted by name."""
        remembered, self._threads = self._threads, []
        here = {thread.name for thread in alive()}
        return [thread for thread in remembered if thread.name not in here]

    def must_restart(self, thread: threading.Thread) -> bool:
        """Return whether THREADS.RESTART names a thread."""
        return any(fnmatch.fnmatchcase(thread.name, pattern) for pattern in self._restart)


_before_fork = BeforeFork()
configure = _before_fork.configure


def stale_threads() -> List[threading.Thread]:
    """Return the threads that are listed as alive and do not run in this process."""
    return [thread for thread in listed() if thread.is_alive() and not runs_here(thread)]


def repair() -> None:
    """Mark the stale threads of this process as dead, restart or report them, restart executors.

    Call it right after a fork, and only then: later a new thread may have the memory of the old one
    (CPython 3.13 detaches it by its handle).
    """
    _renew_locks()
    stale = stale_threads()
    finalization.found_stale(stale)
    with _guard:
        _restart_executors()
    for thread in stale:
        with _guard:
            mark_dead(thread)
    _report_still_alive(thread.name for thread in stale if thread.is_alive())
    forgotten = [thread for thread in _before_fork.take() if thread not in stale]
    for thread in stale + forgotten:
        if executor_of(thread) is None and run_of(thread) is None:
            with _guard:
                _restart_or_report(thread)


def report() -> None:
    """Report the stale threads and change nothing (dry run)."""
    for thread in stale_threads():
        emit(StaleThread(thread.name, str(origin_of(thread) or UNKNOWN)))


def mark_dead(thread: threading.Thread) -> None:
    """Mark a thread as dead; a no-op if this CPython keeps that under other names."""
    internals: Any = thread
    getattr(threading, "_active", {}).pop(thread.ident, None)
    handle = next((getattr(internals, name) for name in HANDLES if hasattr(internals, name)), None)
    if handle is not None:
        handle._set_done()
    elif hasattr(internals, "_tstate_lock"):
        lock, internals._tstate_lock = internals._tstate_lock, None
        internals._is_stopped = True
        getattr(threading, "_shutdown_locks", set()).discard(lock)


def _report_still_alive(names: Iterable[str]) -> None:
    still_alive = ", ".join(map(printable, names))
    if still_alive:
        _logger.warning(
            "[RW512] stale threads could not be marked as dead on this Python, and may hold up "
            "join(): %s",
            still_alive,
        )


def _restart_or_report(thread: threading.Thread) -> None:
    started = str(origin_of(thread) or UNKNOWN)
    if _before_fork.must_restart(thread) and hasattr(thread, "_target"):
        restart(thread)
        emit(ThreadRestarted(thread.name, started))
    else:
        emit(StaleThread(thread.name, started))


def restart(thread: threading.Thread) -> None:
    """Restart a stale thread: the same object, so that everything that holds it has a live one.

    What it was doing is lost, and what it had locked stays locked: only for threads that can begin
    from the start.
    """
    attributes: Any = thread
    threading.Thread.__init__(
        thread,
        target=attributes._target,
        name=thread.name,
        args=getattr(attributes, "_args", ()),
        kwargs=getattr(attributes, "_kwargs", {}),
        daemon=thread.daemon,
    )
    thread.start()


def _renew_locks() -> None:
    """Free the locks of `threading` that a thread may have held at the fork."""
    for name in ("_active_limbo_lock", "_shutdown_locks_lock"):
        renew = getattr(getattr(threading, name, None), "_at_fork_reinit", None)
        if renew is not None:
            renew()


def _restart_executors() -> None:
    module = sys.modules.get("concurrent.futures.thread")
    if module is None:
        return
    # CPython 3.14 clears the first at a fork of Python's own; the second has every thread that is
    # still referenced
    known = {*getattr(module, "_threads_queues", ()), *getattr(threading, "_dangling", ())}
    lost = [thread for thread in known if not runs_here(thread)]
    pools: Dict[int, Any] = {
        id(pool): pool for thread in lost for pool in [executor_of(thread)] if _has(pool, thread)
    }
    for pool in pools.values():
        started = next(
            (str(origin_of(thread) or UNKNOWN) for thread in lost if executor_of(thread) is pool),
            UNKNOWN,
        )
        name = min(thread.name for thread in pool._threads)
        if restart_executor(pool):
            emit(ExecutorRestarted(name, started))


def _has(pool: Any, thread: threading.Thread) -> bool:
    return thread in getattr(pool, "_threads", ()) and not getattr(pool, "_shutdown", False)


def restart_executor(executor: Any) -> bool:
    """Make an executor usable that was used before the fork; return whether that was possible.

    Jobs that were queued in it belong to the parent. It is not possible if this CPython keeps the
    state of executors under other names.
    """
    fresh: Dict[str, Callable[[], Any]] = {
        "_threads": set,
        "_work_queue": queue.SimpleQueue,
        "_idle_semaphore": functools.partial(threading.Semaphore, 0),
        "_shutdown_lock": threading.Lock,
    }
    if not all(hasattr(executor, name) for name in fresh):
        return False
    queues = getattr(sys.modules["concurrent.futures.thread"], "_threads_queues", {})
    for thread in executor._threads:
        queues.pop(thread, None)
    for name, make in fresh.items():
        setattr(executor, name, make())
    return True
