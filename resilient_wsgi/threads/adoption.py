"""Threads that the app and its libraries start: known with the line that started them, without a
change to their code.

`threading.Thread.start` notes where it was called, and nothing else: no list is kept and nothing is
done when a thread ends, because `threading` has both already.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType
from typing import Any, Callable, List, Optional, Set

from .. import servers
from ..core.guard import Guard
from ..core.patching import Patches
from ..host import procfs
from ..settings.options import Threads
from . import jobs, work
from .bounded_call import bounded
from .origin import Origin
from .ways import executor_of, way_to_tell

TELL_SECONDS = 0.25
# the main thread, and those that C or `_thread` has started
NOT_STARTED = tuple(
    getattr(threading, name) for name in ("_MainThread", "_DummyThread") if hasattr(threading, name)
)

_guard = Guard("threads")
_patches = Patches(passing=True)
_adopting = False


def install() -> None:
    """Note from now on where each thread is started."""
    global _adopting
    _adopting = True
    jobs.install()
    _patches.wrap(threading.Thread, "start", _noting)


def uninstall() -> None:
    """Stop noting it."""
    global _adopting
    _adopting = False
    jobs.uninstall()
    _patches.restore()


def _noting(start: Callable[..., None]) -> Callable[..., None]:
    def adopted(self: threading.Thread) -> None:
        if _adopting:
            with _guard:
                _note(self, sys._getframe(1))
        start(self)

    return adopted


def _note(thread: Any, frame: FrameType) -> None:
    begun = work.is_begun_by(frame)
    thread._resilient_wsgi_origin = Origin(frame, work=begun)
    if begun:
        servers.detect().work_begins()


def origin(thread: threading.Thread) -> Optional[Origin]:
    """Return where a thread was started, or registered; None where that was before `install()`."""
    life = getattr(thread, "resilient_wsgi_life", None)
    found: Optional[Origin] = (
        getattr(thread, "_resilient_wsgi_origin", None) if life is None else life.member.origin
    )
    return found


def listed() -> List[threading.Thread]:
    """Return the threads that `threading` knows, but for the main one and those that it did not
    start.

    Not by `threading.enumerate()`: it takes a lock, which a thread that the fork has left behind
    may hold.
    """
    active = getattr(threading, "_active", None)
    threads = list(active.values()) if isinstance(active, dict) else threading.enumerate()
    return [thread for thread in threads if not isinstance(thread, NOT_STARTED)]


def started_thread() -> Optional[threading.Thread]:
    """Return the calling thread; None if it is the main one, or one that `threading` did not start."""
    ident = threading.get_ident()
    # not current_thread(): it would make an object for such a thread
    active = getattr(threading, "_active", None)
    mine = active.get(ident) if isinstance(active, dict) else None
    return None if isinstance(mine, NOT_STARTED) else mine


def alive() -> List[threading.Thread]:
    """Return the threads that run in this process, but for the calling one, the main one and those
    of the server.
    """
    server = servers.detect()
    tasks = _tasks()
    mine = threading.current_thread()
    return [
        thread
        for thread in listed()
        if thread is not mine
        and _runs_here(thread, tasks)
        and not server.is_server_code(_starter(thread))
    ]


def tell(options: Threads, until: float) -> List[threading.Thread]:
    """Tell every thread to stop for which there is a way, the latest started first; return those
    that were told.
    """
    now = time.monotonic()
    deadline = now + max(0.0, until - now) / 2
    told: List[threading.Thread] = []
    pools: Set[int] = set()
    for thread in reversed(alive()):
        if getattr(thread, "resilient_wsgi_life", None) is not None:
            continue
        way = way_to_tell(thread, options.stop_attributes)
        if way is None:
            continue
        told.append(thread)
        pool = executor_of(thread)
        left = deadline - time.monotonic()
        if id(pool) not in pools and left > 0:
            bounded(way, min(TELL_SECONDS, left))
        if pool is not None:
            pools.add(id(pool))
    return told


def holding(told: List[threading.Thread]) -> List[threading.Thread]:
    """Return the threads that the exit waits for: the interpreter would, or they were told to stop."""
    return [
        thread
        for thread in alive()
        if (not thread.daemon or thread in told)
        and getattr(thread, "resilient_wsgi_life", None) is None
    ]


def release_executors() -> None:
    """Have `concurrent.futures` not wait for threads that do not run here or were left behind."""
    for name, table in (("thread", "_threads_queues"), ("process", "_threads_wakeups")):
        module = sys.modules.get(f"concurrent.futures.{name}")
        for thread in list(getattr(module, table, ())):
            if thread in _not_waited_for or not runs_here(thread):
                getattr(module, table).pop(thread, None)


_not_waited_for: Set[threading.Thread] = set()


def leave_behind(threads: List[threading.Thread]) -> None:
    """Note that these are not waited for any more."""
    _not_waited_for.update(threads)


def runs_here(thread: threading.Thread) -> bool:
    """Return whether a thread runs in this process: `is_alive()` says so of threads that a fork has
    left behind too.
    """
    return _runs_here(thread, _tasks())


def _runs_here(thread: threading.Thread, tasks: Optional[Set[int]]) -> bool:
    if not thread.is_alive():
        return False
    life = getattr(thread, "resilient_wsgi_life", None)
    started = origin(thread) if life is None else life
    if started is not None:
        return bool(started.pid == os.getpid())
    return tasks is None or thread.native_id is None or thread.native_id in tasks


def _tasks() -> Optional[Set[int]]:
    return set(procfs.tasks()) or None  # not Linux


def _starter(thread: threading.Thread) -> str:
    started = origin(thread)
    return "" if started is None else started.starter()
