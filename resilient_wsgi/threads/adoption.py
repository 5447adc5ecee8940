"""Adopt the threads that the app and its libraries start, without a change to their code.

`threading.Thread.start` notes the line that called it, and `submit` of executors notes the jobs of
requests. At exit, adopted threads are notified to stop if a way is known, and waited for.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from types import FrameType
from typing import Any, Callable, List, Optional, Sequence, Set

from .. import deadline, servers
from ..core.guard import Guard
from ..core.imports import when_imported
from ..core.patching import Patches
from ..settings.options import Threads
from .background import run_of
from .bounded_call import bounded
from .exit_timeouts import NOTIFY_SECONDS
from .live_threads import alive, executor_of, is_pool_manager, note_origin, runs_here
from .origin import Origin
from .work import is_begun_by, jobs

EXECUTORS = {
    "concurrent.futures.thread": "ThreadPoolExecutor",
    "concurrent.futures.process": "ProcessPoolExecutor",
}

_guard = Guard("threads")


class Adoption:
    """The wrappers around `Thread.start` and `submit`."""

    def __init__(self) -> None:
        self._patches = Patches(passing=True)
        self._hooked: Set[str] = set()
        self._on = False

    def install(self) -> None:
        """Note from now on where each thread is started, and which jobs requests submit."""
        self._on = True
        self._patches.wrap(threading.Thread, "start", self._note_start)
        for name, executor in EXECUTORS.items():
            if name in sys.modules:
                self._wrap_submit(executor, sys.modules[name])
            elif name not in self._hooked:
                # cannot be undone: it is set once, and checks whether it is wanted
                self._hooked.add(name)
                when_imported(name, functools.partial(self._wrap_submit, executor))

    def uninstall(self) -> None:
        """Stop noting it."""
        self._on = False
        self._patches.restore()

    def _wrap_submit(self, executor: str, module: Any) -> None:
        if self._on and hasattr(module, executor):
            self._patches.wrap(getattr(module, executor), "submit", self._note_submit)

    def _note_start(self, original: Callable[..., None]) -> Callable[..., None]:
        def start(thread: threading.Thread) -> None:
            if self._on:
                with _guard:
                    _note_thread(thread, sys._getframe(1))
            original(thread)

        return start

    def _note_submit(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def submit(pool: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = original(pool, *args, **kwargs)
            if self._on:
                with _guard:
                    _note_job(pool, future, sys._getframe(1))
            return future

        return submit


_adoption = Adoption()
install, uninstall = _adoption.install, _adoption.uninstall


def _note_thread(thread: threading.Thread, frame: FrameType) -> None:
    is_work = is_begun_by(frame)
    note_origin(thread, Origin(frame, work=is_work))
    if is_work:
        servers.detect().work_begins()


def _note_job(pool: Any, future: Any, frame: FrameType) -> None:
    server = servers.detect()
    if server.is_server_code(frame.f_code.co_filename):  # gthread's pool handles the requests
        return
    if deadline.in_request() or is_begun_by(frame):
        jobs.add(pool, future)
        server.work_begins()


def notify(options: Threads, until: float) -> List[threading.Thread]:
    """Notify every thread to stop that can be stopped, the latest started first; return them."""
    now = time.monotonic()
    end = now + max(0.0, until - now) / 2
    notified: List[threading.Thread] = []
    pools: Set[int] = set()
    for thread in reversed(alive()):
        stop = stop_callable(thread, options.stop_attributes) if run_of(thread) is None else None
        if stop is None:
            continue
        notified.append(thread)
        pool = executor_of(thread)
        left = end - time.monotonic()
        if id(pool) not in pools and left > 0:
            bounded(stop, min(NOTIFY_SECONDS, left))
        if pool is not None:
            pools.add(id(pool))
    return notified


def stop_callable(
    thread: threading.Thread, attributes: Sequence[str] = ()
) -> Optional[Callable[[], object]]:
    """Return a function that notifies a foreign thread to stop, None if no way is known.

    Known are `Timer`, the threads of `concurrent.futures` (queued work is cancelled, running work
    goes on) and APScheduler. `attributes` names more, on the thread or on the object whose method
    it runs: an event, which is set, or a method, which is called.
    """
    if isinstance(thread, threading.Timer):
        return thread.cancel
    executor = executor_of(thread) or _managed_executor(thread)
    if executor is not None:
        return functools.partial(executor.shutdown, wait=False, cancel_futures=True)
    owner: Any = getattr(getattr(thread, "_target", None), "__self__", None)
    if type(owner).__module__.partition(".")[0] == "apscheduler" and hasattr(owner, "shutdown"):
        return functools.partial(owner.shutdown, wait=False)
    for attribute in attributes:
        for bearer in (thread, owner):
            found: Any = getattr(bearer, attribute, None)
            if callable(getattr(found, "set", None)):
                return functools.partial(found.set)
            if callable(found):
                return functools.partial(found)
    return None


def _managed_executor(thread: threading.Thread) -> Optional[Any]:
    reference = getattr(thread, "executor_reference", None) if is_pool_manager(thread) else None
    return reference() if callable(reference) else None


def holding_exit(notified: List[threading.Thread]) -> List[threading.Thread]:
    """Return the threads that an exit waits for: non-daemons, and those that were notified."""
    return [
        thread
        for thread in alive()
        if (not thread.daemon or thread in notified) and run_of(thread) is None
    ]


_abandoned: Set[threading.Thread] = set()


def abandon(threads: List[threading.Thread]) -> None:
    """Note that these threads are not waited for any more."""
    _abandoned.update(threads)


def release_executors() -> None:
    """Have `concurrent.futures` wait for no thread that is abandoned or does not run here."""
    for name, table in (("thread", "_threads_queues"), ("process", "_threads_wakeups")):
        module = sys.modules.get(f"concurrent.futures.{name}")
        for thread in list(getattr(module, table, ())):
            if thread in _abandoned or not runs_here(thread):
                getattr(module, table).pop(thread, None)
