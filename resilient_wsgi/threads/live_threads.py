"""Which threads run in this process, and what started them.

By what `threading` knows already: no list of our own is kept, and nothing is done when a thread
ends.
"""

from __future__ import annotations

import threading
from typing import Any, List, Optional, Set

from .. import servers
from ..host import procfs
from .background import run_of
from .origin import Origin

# the main thread, and threads that C code or `_thread` has started
NOT_STARTED = tuple(
    getattr(threading, name) for name in ("_MainThread", "_DummyThread") if hasattr(threading, name)
)


def note_origin(thread: threading.Thread, origin: Origin) -> None:
    """Note where a thread is started."""
    attributes: Any = thread
    attributes.resilient_wsgi_origin = origin


def start_of(thread: threading.Thread) -> Optional[Origin]:
    """Return where `Thread.start` was called, None if that was before `install()`."""
    origin: Optional[Origin] = getattr(thread, "resilient_wsgi_origin", None)
    return origin


def origin_of(thread: threading.Thread) -> Optional[Origin]:
    """Return where a thread was registered or else started, None if that is not known."""
    run = run_of(thread)
    return start_of(thread) if run is None else run.background.origin


def listed() -> List[threading.Thread]:
    """Return the threads that `threading` has started, alive or stale.

    Not by `threading.enumerate()`, which takes a lock: a thread that did not survive the fork may
    hold it.
    """
    active = getattr(threading, "_active", None)
    threads = list(active.values()) if isinstance(active, dict) else threading.enumerate()
    return [thread for thread in threads if not isinstance(thread, NOT_STARTED)]


def calling_thread() -> Optional[threading.Thread]:
    """Return the calling thread, None if it is the main one or `threading` did not start it."""
    # not current_thread(): it would create an object for such a thread
    active = getattr(threading, "_active", None)
    mine = active.get(threading.get_ident()) if isinstance(active, dict) else None
    return None if isinstance(mine, NOT_STARTED) else mine


def alive() -> List[threading.Thread]:
    """Return the threads of the app that run in this process, except the calling one.

    Threads of the server and the main thread are left out.
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


def runs_here(thread: threading.Thread) -> bool:
    """Return whether a thread runs in this process; `is_alive()` is also true of a stale thread."""
    return _runs_here(thread, _tasks())


def executor_of(thread: threading.Thread) -> Optional[Any]:
    """Return the `ThreadPoolExecutor` of a thread, None if it has none."""
    target = getattr(thread, "_target", None)
    if getattr(target, "__module__", None) != "concurrent.futures.thread":
        return None
    reference = getattr(thread, "_args", ())[:1]
    return reference[0]() if reference else None


def is_pool_manager(thread: threading.Thread) -> bool:
    """Return whether a `ProcessPoolExecutor` manages its processes by this thread."""
    return type(thread).__module__ == "concurrent.futures.process"


def _runs_here(thread: threading.Thread, tasks: Optional[Set[int]]) -> bool:
    if not thread.is_alive():
        return False
    started = run_of(thread) or start_of(thread)
    if started is not None:
        return started.belongs_here()
    return tasks is None or thread.native_id is None or thread.native_id in tasks


def _tasks() -> Optional[Set[int]]:
    return set(procfs.tasks()) or None  # None: not Linux


def _starter(thread: threading.Thread) -> str:
    started = origin_of(thread)
    return "" if started is None else started.starter()
