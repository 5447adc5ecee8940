"""The soft timeout: an exception raised in the app at its deadline, by a signal. Only where a worker has one thread.

Python runs handlers of signals in the main thread, and a system call that a signal interrupts lets them run: so this ends a
wait that knows of no deadline (measured: a `recv` on a silent socket at once). It may also hit the middle of a transaction,
which is why it is off unless asked for.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Optional

from ..errors import RequestTimedOut, Unavailable
from .running import RequestDeadline, running

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class SoftTimeout:
    """The handler of the signal in this process, set from its main thread."""

    def __init__(self, signum: int) -> None:
        """Set it. Raises `Unavailable` in any other thread than the main one."""
        if threading.current_thread() is not threading.main_thread():
            msg = "SOFT_TIMEOUT: the worker's app does not run in the main thread"
            raise Unavailable(msg)
        self._signum = signum
        self._thread = threading.get_ident()
        self._due: Optional[RequestDeadline] = None
        self._before: Any = signal.signal(signum, self._handle)

    def interrupt(self, thread: int, request: RequestDeadline) -> bool:
        """Have the exception raised in a request; return whether it can be. It is not if the request ends first."""
        if thread != self._thread:
            return False
        self._due = request
        signal.pthread_kill(thread, self._signum)
        return True

    def _handle(self, signum: int, frame: Optional[FrameType]) -> None:
        del signum
        request, slot = self._due, running.slots.get(self._thread)
        # code of ours is not interrupted: its `finally` would not be done. The watchdog sends the signal again
        if request is None or slot is None or slot.request is not request or _ours(frame):
            return
        self._due = None
        msg = f"the request ran for {request.limit:g} s ({request.source})"
        raise RequestTimedOut(msg)

    def close(self) -> None:
        """Restore what handled the signal before. Does nothing in any other thread than the main one."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(self._signum, self._before or signal.SIG_DFL)


def _ours(frame: Optional[FrameType]) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(_HERE)
