"""Two cases in which a uWSGI worker misses the signal to end (measured with 2.0.31)."""

from __future__ import annotations

import _thread
import os
import signal
from types import FrameType
from typing import Callable, Optional

from ...host import procfs

ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def serves() -> bool:
    """Return whether this worker has begun to serve: only then does it have uWSGI's handlers for
    workers, SIGUSR2's among them.
    """
    return procfs.handles_signal(procfs.SELF, signal.SIGUSR2) is not False


def end_while_starting(exit_now: Optional[Callable[[], object]] = None) -> bool:
    """Have the signals that end a worker end it at once, until uWSGI installs its own handlers
    (uwsgi_worker_run).

    Until then, in lazy-apps for as long as the app loads, a worker has the master's handlers, or
    ignores the signals: it goes on, and the master waits for as long as its mercy lasts.
    `exit_now`, if given, is called in the worker (not in what the app forks) and ends it.

    Return False where Python sets no handlers: it does so only in the first thread of the first
    interpreter.
    """
    pid = os.getpid()

    def arrived(number: int, _frame: Optional[FrameType]) -> None:
        if exit_now is not None and os.getpid() == pid:
            exit_now()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    try:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_DFL if exit_now is None else arrived)
    except ValueError:
        return False
    return True


def end_when_woken() -> None:
    """Have a worker with several threads end when the master wakes it to end (max-worker-lifetime,
    cheaper).

    The master does so by SIGWINCH, which wakes only the first thread: it joins the others, which
    wait for requests and know of nothing. SIGHUP reaches all of them (gracefully_kill). SIGWINCH is
    sent to a worker for nothing else.
    """
    # in the threads to come, too: the one that waits gets it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
    _thread.start_new_thread(_pass_on, ())


def _pass_on() -> None:
    signal.sigwait({signal.SIGWINCH})
    os.kill(os.getpid(), signal.SIGHUP)
