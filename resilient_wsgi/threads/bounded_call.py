"""Call what is not ours without waiting for it for ever."""

from __future__ import annotations

import _thread
from typing import Callable

from ..core.guard import Guard
from . import late

_guard = Guard("threads")


def bounded(call: Callable[[], object], seconds: float) -> bool:
    """Call it in a thread of its own; return whether it came back within `seconds`.

    What it raises is logged.

    The calling thread may stand in a signal handler at the end of the process: a lock that is never
    released, taken there, would hold up the exit. The thread is none of `threading`'s, so that
    nobody waits for it. Where none can be started at all (the limit of threads), it is not called.
    """
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            with _guard:
                call()
        finally:
            done.release()

    return late.begin(run) and done.acquire(timeout=seconds)
