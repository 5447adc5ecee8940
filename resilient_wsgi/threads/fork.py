"""Threads that a fork has left behind: their objects say that they are alive, and there is nobody.

uWSGI forks without Python's fork callbacks, so in a prefork worker a thread that was started at
import is listed, alive, and joined at exit; an executor that was used before the fork waits for its
threads for ever.
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
from . import adoption as adopt, finalization
from .origin import UNKNOWN
from .ways import executor_of

HANDLES = ("_os_thread_handle", "_handle")  # CPython 3.14 and 3.13

_guard = Guard("threads")
_logger = named("threads")


class Memory:
    """The threads that ran before a fork of Python's own (gunicorn's `--preload`), after which
    `threading` has forgotten them.
    """

    def __init__(self) -> None:
        self.restart: Sequence[str] = ()
        self._threads: List[threading.Thread] = []
        self._remembers = False

    def begin(self) -> None:
        """Remember them from now on."""
        if not self._remembers:
            os.register_at_fork(before=self._remember, after_in_parent=self._forget)
            self._remembers = True

    def _remember(self) -> None:
        with _guard:
            self._threads = [thread for thread in adopt.alive() if executor_of(thread) is None]

    def _forget(self) -> None:
        self._threads = []

    def take(self) -> List[threading.Thread]:
        """Return what was remembered, once, but for those that somebody has started again under
        their names.
        """
        remembered, self._threads = self._threads, []
        here = {thread.name for thread in adopt.alive()}
        return [thread for thread in remembered if thread.name not in here]

    def is_to_restart(self, thread: threading.Thread) -> bool:
        """Return whether THREADS.RESTART names it."""
        return any(fnmatch.fnmatchcase(thread.name, pattern) for pattern in self.restart)


_memory = Memory()


def configure(restart: Sequence[str], *, remembering: bool = False) -> None:
    """Set the patterns of names of threads that are started again after the fork."""
    _memory.restart = tuple(restart)
    if restart or remembering:
        _memory.begin()


def find() -> List[threading.Thread]:
    """Return the threads that are listed as alive and do not run in this process."""
    return [
        thread for thread in adopt.listed() if thread.is_alive() and not adopt.runs_here(thread)
    ]


def lay() -> None:
    """Make the ghosts of this process say the truth, name them, and bring back what can be.

    Call it right after a fork.

    Only then: later a new thread may have the place in memory of the old one (3.13 detaches it by
    its handle).
    """
    _renew_locks()
    ghosts = find()
    finalization.found_stale(ghosts)
    with _guard:
        _revive_executors()
    for thread in ghosts:
        with _guard:
            _bury(thread)
    _say_what_stays(thread.name for thread in ghosts if thread.is_alive())
    forgotten = [thread for thread in _memory.take() if thread not in ghosts]
    for thread in ghosts + forgotten:
        if executor_of(thread) is None and getattr(thread, "resilient_wsgi_life", None) is None:
            with _guard:
                _name_or_restart(thread)


def name() -> None:
    """Name the ghosts and change nothing: the dry run."""
    for thread in find():
        emit(StaleThread(thread.name, str(adopt.origin(thread) or UNKNOWN)))


def _name_or_restart(thread: threading.Thread) -> None:
    started = str(adopt.origin(thread) or UNKNOWN)
    if _memory.is_to_restart(thread) and hasattr(thread, "_target"):
        restart(thread)
        emit(ThreadRestarted(thread.name, started))
    else:
        emit(StaleThread(thread.name, started))


def restart(thread: threading.Thread) -> None:
    """Start a thread again that the fork has left behind: the same object, so that whoever holds it
    has a living one.

    What it was doing is lost, and what it had locked stays locked: for threads that can begin from
    the start.
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


def _bury(thread: threading.Thread) -> None:
    """Mark a thread as dead. Where this CPython keeps that under other names, nothing is done."""
    internals: Any = thread
    getattr(threading, "_active", {}).pop(thread.ident, None)
    handle = next((getattr(internals, name) for name in HANDLES if hasattr(internals, name)), None)
    if handle is not None:
        handle._set_done()
    elif hasattr(internals, "_tstate_lock"):
        lock, internals._tstate_lock = internals._tstate_lock, None
        internals._is_stopped = True
        getattr(threading, "_shutdown_locks", set()).discard(lock)


def _say_what_stays(names: Iterable[str]) -> None:
    alive = ", ".join(map(printable, names))
    if alive:
        _logger.warning(
            "stale threads could not be marked as dead on this Python, and may hold up join(): %s",
            alive,
        )


def _renew_locks() -> None:
    """Free the locks of `threading` that a thread may have held which the fork has left behind."""
    for name in ("_active_limbo_lock", "_shutdown_locks_lock"):
        renew = getattr(getattr(threading, name, None), "_at_fork_reinit", None)
        if renew is not None:
            renew()


def _revive_executors() -> None:
    module = sys.modules.get("concurrent.futures.thread")
    if module is None:
        return
    # CPython 3.14 clears the first at a fork of Python's own; the second has every thread that
    # somebody still holds
    known = {*getattr(module, "_threads_queues", ()), *getattr(threading, "_dangling", ())}
    lost = [thread for thread in known if not adopt.runs_here(thread)]
    pools: Dict[int, Any] = {
        id(pool): pool for thread in lost for pool in [executor_of(thread)] if _has(pool, thread)
    }
    for pool in pools.values():
        started = next(
            (
                str(adopt.origin(thread) or UNKNOWN)
                for thread in lost
                if executor_of(thread) is pool
            ),
            UNKNOWN,
        )
        name = min(thread.name for thread in pool._threads)
        if revive(pool):
            emit(ExecutorRestarted(name, started))


def _has(pool: Any, thread: threading.Thread) -> bool:
    return thread in getattr(pool, "_threads", ()) and not getattr(pool, "_shutdown", False)


def revive(executor: Any) -> bool:
    """Make an executor usable that was used before the fork.

    What was queued in it belongs to the parent.

    Return whether that could be done: not where this CPython keeps its state under other names.
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
