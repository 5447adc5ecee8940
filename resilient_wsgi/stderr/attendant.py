"""Write what waits in a worker that has nothing more to write itself: its lines and its count would
wait with it.

A thread that is there only while something waits. A write starts it, perhaps in a signal handler or
at the end of the process, so nothing of `threading` is used: `Thread.start()` takes a lock and
waits.
"""

from __future__ import annotations

import _thread
import math
import signal
from typing import TYPE_CHECKING

from .. import servers
from ..core.guard import Guard
from ..core.system import SYSTEM, System
from ..servers.base import WORKER

if TYPE_CHECKING:
    from .buffer import Spill
    from .writer import Writer

EVERY = 0.5  # between two looks whether there is room
SOON = 0.05  # after one that found some: a pipe may be smaller than what waits
NO_THREAD_SECONDS = 10.0
# of the thread's own mistakes; it leaves all others to the threads that handle them, uWSGI's own
# handlers among them
ITS_OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}

_guard = Guard("stderr")


def attend(writer: Writer, system: System = SYSTEM) -> None:
    """Have a thread write what waits, in a worker, if anything does and there is none.

    Never in a master, nor in what the app forked.
    """
    spill, now = writer.spill(), system.monotonic()
    if spill.done or now < spill.attended_until or not _is_worker():
        return
    spill.attended_until = math.inf
    try:
        system.start_thread(_run, (writer, spill, system, _thread.get_native_id()))
    except (RuntimeError, MemoryError):  # no thread to be had: the process is at its limit, or ends
        spill.attended_until = now + NO_THREAD_SECONDS


def _is_worker() -> bool:
    server = servers.known()
    return server is not None and server.identity().role == WORKER and not server.forked_by_app()


def _run(writer: Writer, spill: Spill, system: System, starter: int) -> None:
    with _guard:
        if _thread.get_native_id() != starter:  # no greenlet of gevent's
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - ITS_OWN)
        pause = EVERY
        while not _is_done(spill):
            system.sleep(pause)
            before = len(spill)
            writer.drain()
            pause = SOON if len(spill) < before else EVERY


def _is_done(spill: Spill) -> bool:
    if not spill.done:
        return False
    spill.attended_until = 0.0
    if spill.done:
        return True
    # a write came between, and may have found this thread still there
    spill.attended_until = math.inf
    return False
