"""What the thread of a request waits for, in words: whatever code waits, in Python or in C.

The kernel is asked, by the watchdog's thread, and only about requests that have run for a while: a
look takes about 30 microseconds.
"""

from __future__ import annotations

import os
import threading
from typing import Dict, Optional, Tuple

from ..host import procfs, waits, waits_refusals
from ..host.waits import LOCK, Wait
from . import locks
from .running import RequestDeadline, Running, running

# seconds since its start, or half of its time: before, a request is about to be over
NAMED_AFTER = 1.0
_SWITCHES = "voluntary_ctxt_switches"

_Seen = Tuple[bytes, str]  # the system call, and how often the thread has gone to sleep by then


class Waiting:
    """Names what the threads of requests wait for.

    A thread that wants the GIL waits for a lock, too, but is no less at work. So a lock is named
    at the second look, if the thread has slept since the first one.
    """

    def __init__(self, table: Running = running) -> None:
        self._table = table
        self._locks: Dict[int, _Seen] = {}
        self._named: Dict[int, Tuple[_Seen, str]] = {}  # finding a lock's holder reads its locals

    def __repr__(self) -> str:
        return f"<Waiting {waits.why_not() or 'named'}>"

    def note(self, thread: int, request: RequestDeadline, now: float) -> str:
        """Have a request know what its thread waits for; return it, `""` if that is not known."""
        if not request.waits and now - request.start >= min(NAMED_AFTER, request.limit / 2):
            request.noticed = self.name(thread)
        return request.doing()

    def name(self, thread: int) -> str:
        """Return what a thread waits for, `""` if it waits for nothing or that is not known."""
        wait = self.wait(thread)
        if wait is None:
            return ""
        return str(wait) if wait.kind != LOCK else self._lock(thread, wait)

    def wait(self, thread: int) -> Optional[Wait]:
        """Return the wait that a thread of `threading.get_ident()` is in, None if in none."""
        native = self._native_id(thread)
        # where greenlets run, the thread waits for all of them
        return waits.wait_of(native) if native and not waits_refusals.of_greenlets() else None

    def _native_id(self, thread: int) -> int:
        """Return the kernel's number of a thread, 0 if it is not known.

        A slot may be that of a thread before, of the same name; what `threading` knows, that of one
        which a fork has left behind.
        """
        slot = self._table.slot_of(thread)
        noted = slot.native if slot is not None and slot.pid == os.getpid() else 0
        # not threading.enumerate(), which takes a lock
        known = threading._active.get(thread)  # type: ignore[attr-defined]  # noqa: SLF001
        if (
            known is None
            or known is threading.main_thread()
            or isinstance(known, threading._DummyThread)  # noqa: SLF001
        ):
            return noted
        native = int(known.native_id or 0)
        return native if native == noted or os.path.exists(f"/proc/self/task/{native}") else noted

    def _lock(self, thread: int, wait: Wait) -> str:
        seen = wait.call.line, _switches(wait.thread)
        if not seen[1] or self._locks.get(thread) != seen:
            self._locks[thread] = seen
            return ""
        named = self._named.get(thread)
        if named is None or named[0] != seen:
            named = self._named[thread] = seen, locks.named(thread)
        return named[1]

    def forget(self) -> None:
        """Forget what was seen, when no request runs."""
        self._locks.clear()
        self._named.clear()


def _switches(native: int) -> str:
    return procfs.status(tid=native).get(_SWITCHES, "")
