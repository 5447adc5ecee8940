"""Emit events from a thread of their own: a log that blocks must not hold up the caller.

The thread lives while there is something to emit. If it hangs, in the write of a log handler or
waiting for its lock, up to `WAITING` events are queued, and the rest is only counted, in `lost`.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Deque, Optional

from . import Event, emit

WAITING = 100


class Announcer:
    """Emits events in order, soon, without making its caller wait. Belongs to one process."""

    def __init__(self) -> None:
        self._events: Deque[Event] = deque()
        self._thread: Optional[threading.Thread] = None
        self._lock = threading.Lock()
        self.lost = 0

    def __call__(self, event: Event) -> None:
        """Queue an event."""
        with self._lock:
            if len(self._events) >= WAITING:
                self.lost += 1
                return
            self._events.append(event)
            if self._thread is not None:
                return
            self._thread = threading.Thread(
                target=self._emit_all, name="resilient_wsgi events", daemon=True
            )
            thread = self._thread
        try:
            thread.start()
        except RuntimeError:  # no thread can be started: the process is at its limit, or ends
            self._thread = None

    def _emit_all(self) -> None:
        while True:
            with self._lock:
                if not self._events:
                    self._thread = None
                    return
                event = self._events.popleft()
            emit(event)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` until all events are emitted; return whether they are.

        For the end of a process, and tests.
        """
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return self._thread is None
