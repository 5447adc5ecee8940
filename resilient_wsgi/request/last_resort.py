"""What ends a request when nothing else can: a timer in C, and an exception raised by a signal.

**C code that holds the GIL** stops all threads of Python, the watchdog included. A timer of
faulthandler's, a thread in C, then writes the stacks and ends the process, unless the watchdog has
postponed it. It has to be off during a fork: a timer that was armed before one and is armed again
in the child waits forever for a thread that the fork has not copied (measured, CPython 3.11). uWSGI
forks its workers in the master, where it is never armed.

**The soft timeout** raises an exception in the app at its deadline. Python runs handlers of signals
in the main thread, and a system call that a signal interrupts lets them run: so it also ends a wait
that knows of no deadline (measured: a `recv` on a silent socket, at once). It may hit the middle of
a transaction, which is why it is off by default, and works only where a worker has one thread.

It is raised where the app's code runs, and once in a request: not in the server's code between two
pieces of a response, nor in this library's, nor in what that calls (a lock of logging, say), where
it would be swallowed or leave something half done; and not again while the answer to the first one
is on its way, sent by this library or by the app that has caught it.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Optional

from ..core import app_entries, frames
from ..errors import RequestTimedOut, Unavailable
from .running import RequestDeadline, running

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # the package


class _Timer:
    """faulthandler's timer, of which a process has one: off during a fork."""

    def __init__(self) -> None:
        self._armed = False
        self._forking = False
        self._sees_forks = False

    def watch_forks(self) -> None:
        """Have it switched off during forks from now on, which cannot be undone."""
        if not self._sees_forks:
            self._sees_forks = True
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork,
                after_in_child=self._after_fork,
            )

    @property
    def armed(self) -> bool:
        """Return whether it runs."""
        return self._armed

    def arm(self, seconds: float, fd: int) -> None:
        """Have the process end in so many seconds, unless it is armed again or cancelled."""
        if not self._forking:
            self._armed = True
            frames.end_later(seconds, fd)

    def cancel(self) -> None:
        """Switch it off."""
        if self._armed:
            self._armed = False
            frames.cancel_end()

    def _before_fork(self) -> None:
        self._forking = True
        self.cancel()

    def _after_fork(self) -> None:
        self._forking = False


_timer = _Timer()


class GilWatchdog:
    """Ends the process if `beat` is not called for `seconds`, and writes its stacks to `fd`."""

    def __init__(self, seconds: float, fd: int) -> None:
        self._seconds = seconds
        self._fd = fd
        self._next = 0.0
        _timer.watch_forks()

    def __repr__(self) -> str:
        return f"<GilWatchdog {self._seconds:g} s {'armed' if _timer.armed else 'off'}>"

    def beat(self, now: float) -> None:
        """Postpone the end. That makes a thread in C, so it is done four times in its `seconds`."""
        if now >= self._next or not _timer.armed:
            self._next = now + self._seconds / 4
            _timer.arm(self._seconds, self._fd)

    def stop(self) -> None:
        """Switch the timer off."""
        _timer.cancel()


class SoftTimeout:
    """The handler of the signal in this process, set from its main thread."""

    def __init__(self, signum: int) -> None:
        """Set the handler. Raises `Unavailable` in any other thread than the main one."""
        if threading.current_thread() is not threading.main_thread():
            msg = "SOFT_TIMEOUT: the worker's app does not run in the main thread"
            raise Unavailable(msg)
        self._signum = signum
        self._thread = threading.get_ident()
        self._due: Optional[RequestDeadline] = None
        self._before: Any = signal.signal(signum, self._handle)

    def __repr__(self) -> str:
        return f"<SoftTimeout signal {self._signum}>"

    def interrupt(self, thread: int, request: RequestDeadline) -> bool:
        """Raise the exception in a request; return whether that is possible.

        It is not raised if the request ends first. Call it again as long as the request runs: if
        the app's code does not run at that moment, nothing is raised.
        """
        if thread != self._thread or request.timed_out:
            return False
        self._due = request
        signal.pthread_kill(thread, self._signum)
        return True

    def close(self) -> None:
        """Restore the handler that was there before; a no-op outside of the main thread."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(self._signum, self._before or signal.SIG_DFL)

    def _handle(self, signum: int, frame: Optional[FrameType]) -> None:
        del signum
        request, slot = self._due, running.slots.get(self._thread)
        if request is None or slot is None or slot.request is not request or not _in_app(frame):
            return
        self._due = None
        request.timed_out = True
        msg = f"the request ran for {request.limit:g} s ({request.source})"
        raise RequestTimedOut(msg)


def _in_app(frame: Optional[FrameType]) -> bool:
    """Return whether the app's code runs: the innermost code of this library on the stack is what
    has called the app.
    """
    interrupted = frame
    while frame is not None and not frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return frame is not None and frame is not interrupted and app_entries.is_caller(frame)
