"""A load in uWSGI's master, before the first fork, that hangs: ended, with the stacks of all
threads.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Optional

from ..core import frames

FAILED = 22


def limit_load(seconds: float) -> None:
    """End this process unless it has left Python within `seconds`: with code 22, its stacks on
    standard error.

    faulthandler's own timer would do without Python's help, but must not be armed when a process
    forks (its watchdog is a thread that the child does not have, and waits for), and nothing of
    Python runs in the master between the load and the fork that could disarm it. This one is a
    signal: its handler runs in Python code, which the master has none of after the load, and its
    timer is not inherited. So it does not end a load that hangs inside of C code.
    """
    master = os.getpid()

    def end(_number: int, _frame: Optional[FrameType]) -> None:
        if os.getpid() == master:  # a worker may inherit that the signal came
            os.write(
                2, b"resilient_wsgi: the load in the master takes longer than %g s\n" % seconds
            )
            frames.dump(2)
            os._exit(FAILED)  # exit functions may be what hangs

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def forget() -> None:
    """Give the signal back, in a worker."""
    if getattr(signal.getsignal(signal.SIGALRM), "__module__", "") == __name__:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
