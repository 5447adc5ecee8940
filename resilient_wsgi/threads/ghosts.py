"""Threads that a fork has left behind: their objects say that they are alive, and there is nobody.

uWSGI forks without Python's fork callbacks, so in a prefork worker a thread that was started at import is listed, alive,
and joined at exit; an executor that was used before the fork waits for its threads for ever.
"""

from __future__ import annotations

import fnmatch
import os
import queue
import sys
import threading
from typing import Any, List, Sequence

from ..events import ExecutorRevived, GhostThread, ThreadRestarted, emit
from . import adopt
from .origin import UNKNOWN
from .ways import executor_of

_restart: Sequence[str] = ()
_remembering = False
_remembered: List[threading.Thread] = []


def configure(restart: Sequence[str]) -> None:
    """Set the patterns of names of threads that are started anew after the fork."""
    global _restart, _remembering
    _restart = tuple(restart)
    if _restart and not _remembering:
        # where Python's fork callbacks do run (py-call-uwsgi-fork-hooks, gunicorn), threading itself forgets the threads
        os.register_at_fork(before=_remember)
        _remembering = True


def _remember() -> None:
    global _remembered
    _remembered = [thread for thread in adopt.listed() if _to_restart(thread) and thread.is_alive()]


def _to_restart(thread: threading.Thread) -> bool:
    return any(fnmatch.fnmatchcase(thread.name, pattern) for pattern in _restart)


def find() -> List[threading.Thread]:
    """Return the threads that are listed as alive and do not run in this process."""
    return [thread for thread in adopt.listed() if thread.is_alive() and not adopt.runs_here(thread)]


def lay() -> None:
    """Make the ghosts of this process say the truth, name them, and bring back what can be. Call it right after a fork.

    Only then: later a new thread may have the place in memory of the old one (3.13 detaches it by its handle).
    """
    global _remembered
    _renew_locks()
    ghosts = find()
    _revive_executors()
    for thread in ghosts:
        _bury(thread)
    forgotten = [thread for thread in _remembered if thread not in ghosts and not adopt.runs_here(thread)]
    _remembered = []
    for thread in ghosts + forgotten:
        if executor_of(thread) is None and getattr(thread, "resilient_wsgi_life", None) is None:
            _name_or_restart(thread)


def name() -> None:
    """Name the ghosts and change nothing: the dry run."""
    for thread in find():
        emit(GhostThread(thread.name, str(adopt.origin(thread) or UNKNOWN)))


def _name_or_restart(thread: threading.Thread) -> None:
    started = str(adopt.origin(thread) or UNKNOWN)
    if _to_restart(thread):
        restart(thread)
        emit(ThreadRestarted(thread.name, started))
    else:
        emit(GhostThread(thread.name, started))


def restart(thread: threading.Thread) -> None:
    """Start a thread anew that the fork has left behind: the same object, so that whoever holds it has a living one.

    What it was doing is lost, and what it had locked stays locked: for threads that can begin from the start.
    """
    attributes: Any = thread
    threading.Thread.__init__(
        thread,
        target=attributes._target,
        name=thread.name,
        args=attributes._args,
        kwargs=attributes._kwargs,
        daemon=thread.daemon,
    )
    thread.start()


def _bury(thread: threading.Thread) -> None:
    internals: Any = thread
    threading._active.pop(thread.ident, None)  # type: ignore[attr-defined]
    if hasattr(internals, "_handle"):  # CPython 3.13
        internals._handle._set_done()
        return
    lock = internals._tstate_lock
    internals._is_stopped = True
    internals._tstate_lock = None
    threading._shutdown_locks.discard(lock)  # type: ignore[attr-defined]


def _renew_locks() -> None:
    """Free the locks of `threading` that a thread may have held which the fork has left behind."""
    for name in ("_active_limbo_lock", "_shutdown_locks_lock"):
        renew = getattr(getattr(threading, name, None), "_at_fork_reinit", None)
        if renew is not None:
            renew()


def _revive_executors() -> None:
    module = sys.modules.get("concurrent.futures.thread")
    lost = [thread for thread in list(getattr(module, "_threads_queues", ())) if not adopt.runs_here(thread)]
    pools = {id(pool): pool for pool in map(executor_of, lost) if pool is not None}
    for pool in pools.values():
        started = next((str(adopt.origin(thread)) for thread in lost if executor_of(thread) is pool), UNKNOWN)
        name = min(thread.name for thread in pool._threads)
        revive(pool)
        emit(ExecutorRevived(name, started))


def revive(executor: Any) -> None:
    """Make an executor usable that was used before the fork. What was queued in it belongs to the parent."""
    module: Any = sys.modules["concurrent.futures.thread"]
    for thread in executor._threads:
        module._threads_queues.pop(thread, None)
    executor._threads = set()
    executor._work_queue = queue.SimpleQueue()
    executor._idle_semaphore = threading.Semaphore(0)
    executor._shutdown_lock = threading.Lock()
