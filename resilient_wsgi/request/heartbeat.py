"""A guard against C code that holds the GIL, in which no thread of Python can run, the watchdog
included.

A timer of faulthandler's, a thread in C, writes the stacks and ends the process unless the watchdog
has put it off in time. It has to be off in a fork: a timer that was armed before one and is armed
again in the child waits there for ever for a thread that the fork has not copied (measured, CPython
3.11). uWSGI forks its workers in the master, where it is never armed.
"""

from __future__ import annotations

import os

from ..core import frames

_at_fork = False
_forking = False
_beating = False


class Heartbeat:
    """Arms the timer for `seconds` each time that it is told that Python runs."""

    def __init__(self, seconds: float, fd: int) -> None:
        global _at_fork
        self._seconds = seconds
        self._fd = fd
        self._next = 0.0
        if not _at_fork:
            os.register_at_fork(
                before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
            )
            _at_fork = True

    def beat(self, now: float) -> None:
        """Put it off. It costs a thread in C, so it is done four times in its time."""
        global _beating
        if (now >= self._next or not _beating) and not _forking:
            _beating = True
            self._next = now + self._seconds / 4
            frames.end_later(self._seconds, self._fd)

    def stop(self) -> None:
        """Switch it off."""
        _cancel()


def _cancel() -> None:
    global _beating
    if _beating:
        _beating = False
        frames.cancel_end()


def _before_fork() -> None:
    global _forking
    _forking = True
    _cancel()


def _after_fork() -> None:
    global _forking
    _forking = False
