"""How long each part of an exit may take: all of it ends before the server loses patience."""

from __future__ import annotations

import time
from typing import Optional

from ..settings.options import AUTO, Threads

GRACE = 1.0  # of background threads, where THREADS.GRACE is auto
MERCY = 60.0  # where the server has no limit of its own: uWSGI's default
MARGIN = 1.0  # masters count in whole seconds
CUT = 2.0  # kept for the exit functions after one that hangs
CALLBACKS = 2.0  # kept for the exit functions of others, `atexit` among them
TELL_SECONDS = 0.25  # of background threads, where work has used up an explicit GRACE


class Plan:
    """The times of one exit, on the monotonic clock, in their order: `work_until`, `grace_until`,
    `cut_at`, `gone_at`.

    Short mercies are divided in proportion: of 4 s, 2 s are for work, 0.5 s each for background
    threads and for the exit functions of others, and 1 s is a margin; what is kept for background
    threads is work's where there are none. An explicit GRACE is what all threads get together, an
    explicit EXIT_TIMEOUT the limit of the whole exit; neither is longer than what the server grants.
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
        self.mercy = MERCY if mercy is None else mercy
        total = self.mercy - min(MARGIN, self.mercy / 4)
        if options.exit_timeout != AUTO:
            total = min(total, float(options.exit_timeout))
        callbacks = min(CALLBACKS, total / 6)
        self.gone_at = self.begun + total
        # as late as the others allow: it may be about to end
        self.cut_at = self.gone_at - min(CUT, total / 6)
        self._callbacks_at = self.gone_at - callbacks
        self._shared = options.grace != AUTO
        grace = float(options.grace) if self._shared else GRACE
        self._grace = min(grace, total - callbacks)
        kept = min(GRACE, total / 6) if background else 0.0
        own = self._grace if self._shared else total - callbacks - kept
        self.work_until = self.begun + own

    def grace_until(self, now: float) -> float:
        """Return until when background threads are waited for, if they are told now."""
        if self._shared:
            return max(self.begun + self._grace, now + min(self._grace, TELL_SECONDS))
        return min(now + self._grace, self._callbacks_at)
