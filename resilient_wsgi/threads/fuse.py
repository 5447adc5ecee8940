"""The last resort of an exit: this process ends within a bounded time whatever holds it up."""

from __future__ import annotations

import _thread
import logging
import sys
import time
import traceback

from .. import servers

MARGIN = 2.0  # so that the process speaks before the master kills it
LOG_SECONDS = 0.5


class Fuse:
    """Two limits on an exit that has begun.

    A thread that names the line the exit hangs in and ends the process: it works on every path, also those on which
    nobody else looks (no master, uWSGI's graceful stop, during which the master waits in a loop of its own). And the
    server's kill from outside, which needs no GIL.
    """

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._main = _thread.get_ident()

    def light(self) -> None:
        """Begin to count. Where the process has no server, nobody asked for its end: nothing is done."""
        server = servers.detect()
        if not server.may_leave:
            return
        server.set_fuse(self._seconds)
        # two threads, both started now: whoever hangs may have the lock of logging, and CPython 3.12 starts none later
        after = max(1.0, self._seconds - MARGIN)
        _thread.start_new_thread(self._say, (after,))
        _thread.start_new_thread(self._burn, (after + LOG_SECONDS,))

    def _say(self, seconds: float) -> None:
        time.sleep(seconds)
        frame = sys._current_frames().get(self._main)
        logging.getLogger("resilient_wsgi.threads").error(
            "the exit of this process took more than %g s and is cut short; it stood in\n%s",
            seconds,
            "".join(traceback.format_stack(frame)) if frame else "",
        )

    def _burn(self, seconds: float) -> None:
        time.sleep(seconds)
        servers.detect().leave()
