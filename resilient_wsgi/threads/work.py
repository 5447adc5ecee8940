"""What requests and tasks have started and left running: threads, and jobs of executors.

The process ought to wait for it when it exits. A thread of the app is work unless it is known to
run in the background: started while a module is imported (also by a request that imports it), by a
hook of the server that runs before the first request, or by such a thread in turn. If that cannot
be known, it is work: without this library the interpreter would wait for it as well.
"""

from __future__ import annotations

import threading
import time
from types import FrameType
from typing import Any, Callable, Dict, List, Optional, Tuple
from weakref import ref

from .. import deadline, servers
from ..core.system import PerProcess
from .background import run_of
from .live_threads import alive, calling_thread, executor_of, is_pool_manager, origin_of, start_of


def is_begun_by(frame: Optional[FrameType]) -> bool:
    """Return whether what this function starts is work, judged by the stack that leads to it."""
    server = servers.detect()
    while frame is not None:
        code = frame.f_code
        # an import, or the server's own program, whose functions come first
        if code.co_name == "<module>":
            return False
        judgement = server.calls_app(code)
        if judgement is not None:
            return judgement
        frame = frame.f_back
    return deadline.in_request() or _is_done_here()


def _is_done_here() -> bool:
    """Return whether the calling thread does work, if its stack does not tell."""
    thread = calling_thread()
    if thread is None:
        return servers.detect().serving()
    pool = executor_of(thread)
    if pool is not None:
        return jobs.pending_in(pool)
    started = start_of(thread)
    return started is not None and started.work


def unfinished_threads(oldest: float) -> List[threading.Thread]:
    """Return the threads that are work and were started since `oldest`, on the monotonic clock."""
    return [thread for thread in alive() if _is_work(thread) and _started(thread) >= oldest]


def due(threads: List[threading.Thread], until: float) -> List[threading.Thread]:
    """Return the threads that can end by then: without a `Timer` that is due later."""
    return [
        thread
        for thread in threads
        if not isinstance(thread, threading.Timer) or _started(thread) + thread.interval <= until
    ]


def _is_work(thread: threading.Thread) -> bool:
    if thread.daemon or run_of(thread) is not None:
        return False
    if executor_of(thread) is not None or is_pool_manager(thread):
        return False  # its jobs count, not its threads, which end only when they are notified
    started = origin_of(thread)
    return started is not None and started.work


def _started(thread: threading.Thread) -> float:
    started = origin_of(thread)
    return 0.0 if started is None else started.time


class Jobs:
    """The jobs that requests have submitted to executors, and that are not done. One per process.

    `submit` adds them, and a job removes itself when it ends: so the exit knows what is queued or
    running, no matter where and when the executor was made.
    """

    def __init__(self) -> None:
        # futures, their executors, and when they were submitted
        self._here: PerProcess[Dict[Any, Tuple[Callable[[], Any], float]]] = PerProcess(dict)

    def add(self, pool: Any, future: Any) -> None:
        """Note a job until it is done or cancelled."""
        self._here.get()[future] = (ref(pool), time.monotonic())
        future.add_done_callback(self._remove)

    def _remove(self, future: Any) -> None:
        self._here.get().pop(future, None)

    def pending_in(self, pool: Any) -> bool:
        """Return whether a request waits for a job in this executor."""
        return any(owner() is pool for owner, _ in list(self._here.get().values()))

    def unfinished(self, oldest: float) -> List[Any]:
        """Return the futures that were submitted since `oldest` and are not done."""
        return [
            future
            for future, (_, submitted) in list(self._here.get().items())
            if submitted >= oldest and not future.done()
        ]


jobs = Jobs()


def wait_for_one(futures: List[Any], seconds: float) -> None:
    """Wait until at least one of these futures is done, or the time is over."""
    # loaded already, as there are futures; it must not be imported before gevent's `patch_all()`
    import concurrent.futures

    concurrent.futures.wait(futures, seconds, concurrent.futures.FIRST_COMPLETED)
