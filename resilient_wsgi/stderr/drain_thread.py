"""A thread that writes what waits in a worker that has nothing more to write itself.

Without it the worker's lines, and its count of dropped ones, would wait for its next line. The
thread exists only while something waits. A write starts it, perhaps in a signal handler or at the
end of the process, so it uses nothing of `threading`: `Thread.start()` takes a lock and waits.
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
    from .buffer import Buffer
    from .writer import Writer

EVERY_SECONDS = 0.5  # between two attempts to write
SOON_SECONDS = 0.05  # after one that wrote something: a pipe may be smaller than what waits
NO_THREAD_SECONDS = 10.0
# signals of the thread's own mistakes; it leaves all others to the threads that handle them, among
# them uWSGI's own handlers
OWN_SIGNALS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}

_guard = Guard("stderr")


def start_drain_thread(writer: Writer, system: System = SYSTEM) -> None:
    """Start a thread that writes what waits, in a worker, if something waits and none runs.

    Never in a master, nor in a process that the app forked.
    """
    buffer, now = writer.buffer(), system.monotonic()
    if buffer.done or now < buffer.attended_until or not _is_worker():
        return
    buffer.attended_until = math.inf
    try:
        system.start_thread(_run, (writer, buffer, system, _thread.get_native_id()))
    except (RuntimeError, MemoryError):  # the process is at its limit of threads, or ends
        buffer.attended_until = now + NO_THREAD_SECONDS


def _is_worker() -> bool:
    server = servers.known()
    return server is not None and server.identity().role == WORKER and not server.forked_by_app()


def _run(writer: Writer, buffer: Buffer, system: System, starter: int) -> None:
    with _guard:
        if _thread.get_native_id() != starter:  # not a greenlet of gevent
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - OWN_SIGNALS)
        pause = EVERY_SECONDS
        while not _is_finished(buffer):
            system.sleep(pause)
            before = len(buffer)
            writer.drain()
            pause = SOON_SECONDS if len(buffer) < before else EVERY_SECONDS


def _is_finished(buffer: Buffer) -> bool:
    if not buffer.done:
        return False
    buffer.attended_until = 0.0
    if buffer.done:
        return True
    # a write came between, and may have found this thread still running
    buffer.attended_until = math.inf
    return False
