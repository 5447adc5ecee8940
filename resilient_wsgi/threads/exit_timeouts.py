"""How long a process waits for its threads at exit, and every other time limit of an exit.

The settings are THREADS.GRACE, UNSIGNALLED_GRACE and EXIT_TIMEOUT; the constants are here.
Together they end before the server kills the process.
"""

from __future__ import annotations

import time
from typing import Optional

from ..settings.options import AUTO, Threads

GRACE_SECONDS = 1.0  # for background threads, if THREADS.GRACE is auto
MERCY_SECONDS = 60.0  # if the server has no limit of its own: uWSGI's default
MARGIN_SECONDS = 1.0  # masters count in whole seconds
CALLBACK_SECONDS = 2.0  # reserved for exit functions of others, `atexit` among them
AFTER_CUT_SECONDS = 2.0  # reserved for the exit functions after one that hangs
CUTS = 4  # how many exit functions that hang may be cut short before the process ends
KILL_TIMER_SECONDS = 3  # how much later the server kills a process that did not end itself
NOTIFY_SECONDS = 0.25  # for one callback that stops a thread, before the next thread is notified
QUIET_SECONDS = 1.0  # work that takes no longer is not worth a log line
# for naming abandoned threads, in a thread of its own: one of them may hold the lock of a log
# handler
LOG_SECONDS = 0.5
LOG_BEFORE_CUT_SECONDS = 0.25  # between naming what holds up the exit and cutting it short
# work that has run this many times as long as the process may take to end is not about to finish
WORK_AGE_FACTOR = 10


class ExitTimeouts:
    """The times of one exit on the monotonic clock, in order: `work_until`, `grace_until()`,
    `cut_at`, `gone_at`.

    A short mercy is divided in proportion: of 4 s, 2 s are for work, 0.5 s each for background
    threads and for exit functions of others, and 1 s is a margin. Without background threads, their
    part goes to work. An explicit GRACE is the limit of all threads together, an explicit
    EXIT_TIMEOUT that of the whole exit; neither exceeds what the server grants.
    """

    def __init__(
        self,
        options: Threads,
        mercy: Optional[float],
        begun: Optional[float] = None,
        *,
        background: bool = True,
    ) -> None:
        self.begun = time.monotonic() if begun is None else begun
        self.mercy = MERCY_SECONDS if mercy is None else mercy
        total = self.mercy - min(MARGIN_SECONDS, self.mercy / 4)
        if options.exit_timeout != AUTO:
            total = min(total, float(options.exit_timeout))
        callbacks = min(CALLBACK_SECONDS, total / 6)
        self.gone_at = self.begun + total
        # as late as the others allow: the exit may be about to end
        self.cut_at = self.gone_at - min(AFTER_CUT_SECONDS, total / 6)
        self._callbacks_at = self.gone_at - callbacks
        self._shared = options.grace != AUTO
        grace = float(options.grace) if self._shared else GRACE_SECONDS
        self._grace = min(grace, total - callbacks)
        kept = min(GRACE_SECONDS, total / 6) if background else 0.0
        own = self._grace if self._shared else total - callbacks - kept
        self.work_until = self.begun + own

    def grace_until(self, now: float) -> float:
        """Return until when background threads are waited for if they are notified now."""
        if self._shared:  # notified even if work has used up an explicit GRACE
            return max(self.begun + self._grace, now + min(self._grace, NOTIFY_SECONDS))
        return min(now + self._grace, self._callbacks_at)
