"""Two cases in which a uWSGI worker is told to end and does not hear it (measured with 2.0.31)."""

from __future__ import annotations

import _thread
import os
import signal
from types import FrameType
from typing import Callable, Optional

from ...host import procfs

TOLD_TO_END = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def serves() -> bool:
    """Return whether this worker has come to serve: only then it has uWSGI's handlers for workers,
    SIGUSR2's among them.
    """
    return procfs.handles_signal(procfs.SELF, signal.SIGUSR2) is not False


def end_while_starting(leave: Optional[Callable[[], object]] = None) -> bool:
    """Let the signals that end a worker end it at once, until uWSGI installs its own handlers
    (uwsgi_worker_run).

    Until then, in lazy-apps for as long as the app loads, a worker has the master's handlers, or
    ignores the signals: it goes on, and the master waits for its mercy. `leave`, if given, is
    called in the worker (not in what the app forks) and ends it.

    Return False where Python sets no handlers: it does so in the first thread of the first
    interpreter alone.
    """
    pid = os.getpid()

    def told(number: int, _frame: Optional[FrameType]) -> None:
        if leave is not None and os.getpid() == pid:
            leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    try:
        for number in TOLD_TO_END:
            signal.signal(number, signal.SIG_DFL if leave is None else told)
    except ValueError:
        return False
    return True


def end_when_woken() -> None:
    """Have a worker with several threads end when the master wakes it to end (max-worker-lifetime,
    cheaper).

    The master does so by SIGWINCH, which wakes the first thread alone: it joins the others, which
    wait for requests and were told nothing. SIGHUP tells all of them (gracefully_kill). To a
    worker, SIGWINCH is sent for nothing else.
    """
    signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGWINCH}
    )  # in the threads to come, too: the one that waits gets it
    _thread.start_new_thread(_pass_on, ())


def _pass_on() -> None:
    signal.sigwait({signal.SIGWINCH})
    os.kill(os.getpid(), signal.SIGHUP)
