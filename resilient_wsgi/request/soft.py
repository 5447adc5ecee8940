"""The soft timeout: an exception raised in the app at its deadline, by a signal.

Only where a worker has one thread.

Python runs handlers of signals in the main thread, and a system call that a signal interrupts lets
them run: so this ends a wait that knows of no deadline (measured: a `recv` on a silent socket at
once). It may also hit the middle of a transaction, which is why it is off unless asked for.

It is raised where the app's code runs, and once in a request. Not in the server's code between two
pieces of a response, nor in ours, nor in what ours calls (a lock of logging's, say): it would be
swallowed there, or leave something half done. And not again while the answer to the first one is on
its way, by us or by the app that has caught it.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Optional

from ..core import callers
from ..errors import RequestTimedOut, Unavailable
from .running import RequestDeadline, running

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # the package


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
        """Have the exception raised in a request; return whether it can be.

        It is not if the request ends first.

        If the app's code does not run just then nothing is raised: call it again.
        """
        if thread != self._thread or request.timed_out:
            return False
        self._due = request
        signal.pthread_kill(thread, self._signum)
        return True

    def _handle(self, signum: int, frame: Optional[FrameType]) -> None:
        del signum
        request, slot = self._due, running.slots.get(self._thread)
        if request is None or slot is None or slot.request is not request or not _in_app(frame):
            return
        self._due = None
        request.timed_out = True
        msg = f"the request ran for {request.limit:g} s ({request.source})"
        raise RequestTimedOut(msg)

    def close(self) -> None:
        """Restore what handled the signal before.

        Does nothing in any other thread than the main one.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(self._signum, self._before or signal.SIG_DFL)


def _in_app(frame: Optional[FrameType]) -> bool:
    """Return whether the app's code runs: the innermost code of ours on the stack is what has
    called the app.
    """
    interrupted = frame
    while frame is not None and not frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return frame is not None and frame is not interrupted and callers.is_caller(frame)
