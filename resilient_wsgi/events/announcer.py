"""Events of the watchdog, told by a thread of their own: a log that blocks must not keep it from
its work.

The thread is there while there is something to tell. If it hangs, in the write of a handler or for
the lock of one, up to `WAITING` events wait for it, and the rest is counted by nobody but `lost`.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Deque, Optional

from . import Event, emit

WAITING = 100


class Announcer:
    """Emits events in order, at some time soon, and never makes its caller wait.

    For one process.
    """

    def __init__(self) -> None:
        self._events: Deque[Event] = deque()
        self._thread: Optional[threading.Thread] = None
        self._lock = threading.Lock()
        self.lost = 0

    def __call__(self, event: Event) -> None:
        """Have an event emitted."""
        with self._lock:
            if len(self._events) >= WAITING:
                self.lost += 1
                return
            self._events.append(event)
            if self._thread is not None:
                return
            self._thread = threading.Thread(
                target=self._tell, name="resilient_wsgi events", daemon=True
            )
            thread = self._thread
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the process is at its limit, or ends
            self._thread = None

    def _tell(self) -> None:
        while True:
            with self._lock:
                if not self._events:
                    self._thread = None
                    return
                event = self._events.popleft()
            emit(event)

    def wait(self, seconds: float) -> bool:
        """Wait until all is told, at most `seconds`; return whether it is.

        For the end of a process, and tests.
        """
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return self._thread is None
