"""Wake one thread that waits.

Not `threading.Event`: that asks `threading` for a lock at each wait. Where gevent has replaced
those since (uWSGI's `gevent-monkey-patch` does, after the app is loaded), a thread that was started
before would wait in a gevent hub of its own; making it beside the main thread's hangs both for
ever, each with a lock of an import that the other one needs.
"""

from __future__ import annotations

import contextlib

from .system import SYSTEM


class Bell:
    """`ring()` ends the wait of the thread, or its next one."""

    def __init__(self) -> None:
        self._silent = SYSTEM.allocate_lock()
        self._silent.acquire()

    def ring(self) -> None:
        """End the wait. Never blocks."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._silent.release()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; return whether it rang. It is silent again then."""
        return self._silent.acquire(timeout=seconds)
