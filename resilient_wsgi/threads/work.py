"""What requests and tasks have started and left running: threads that the process ought to wait for
when it exits.

A thread of the app is work unless it is known to run in the background: started while a module is
imported (also by a request that imports it), by a hook of the server's that runs before the first
request, or by such a thread in turn. What cannot be told is work: without this library the
interpreter would wait for it as well.
"""

from __future__ import annotations

import threading
from types import FrameType
from typing import List, Optional

from .. import deadline, servers
from . import adoption as adopt, jobs
from .ways import executor_of, is_pool_manager

# a thread that has run ten times as long as the process gets to end is not about to finish
AGE_LIMIT = 10


def is_begun_by(frame: Optional[FrameType]) -> bool:
    """Return whether what this function starts is work: by the stack that leads to it, innermost
    first.
    """
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
    """Return whether the calling thread does work, where its stack does not say so."""
    thread = adopt.started_thread()
    if thread is None:
        return servers.detect().serving()
    pool = executor_of(thread)
    if pool is not None:
        return jobs.pending_in(pool)
    started = getattr(thread, "_resilient_wsgi_origin", None)
    return started is not None and bool(started.work)


def unfinished(oldest: float) -> List[threading.Thread]:
    """Return the threads of this process that are work and were started after a time of the
    monotonic clock.
    """
    return [thread for thread in adopt.alive() if _is_work(thread) and _started(thread) >= oldest]


def due(threads: List[threading.Thread], until: float) -> List[threading.Thread]:
    """Return those that can end by then: not a `Timer` that has longer to go."""
    return [
        thread
        for thread in threads
        if not isinstance(thread, threading.Timer) or _started(thread) + thread.interval <= until
    ]


def _is_work(thread: threading.Thread) -> bool:
    if thread.daemon or getattr(thread, "resilient_wsgi_life", None) is not None:
        return False
    if executor_of(thread) is not None or is_pool_manager(thread):
        return False  # its jobs are counted, not its threads, which end only when they are told to
    started = adopt.origin(thread)
    return started is not None and started.work


def _started(thread: threading.Thread) -> float:
    started = adopt.origin(thread)
    return 0.0 if started is None else started.time
