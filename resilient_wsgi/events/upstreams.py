"""The events of fair share, a frozen record each: an upstream is limited, and answers again."""

from __future__ import annotations

import logging

from .base import Event, Words


class UpstreamLimited(Event):
    """Calls to an upstream that does not answer are refused from here on, so that it does not hold
    all threads. Once, when that begins.

    `held` of the instance's `threads` wait for it; its oldest call has been silent for `elapsed`
    seconds, where an answer usually takes `usual` (0: not known yet).
    """

    component = "bulkhead"
    code = "RW111"
    template = (
        "%(limited)s %(upstream)s: %(held)d of %(threads)d threads wait for it, the oldest for "
        "%(elapsed).1f s (%(usually)s), and no thread is idle. Until it answers again, calls that "
        "hang are ended and new ones fail at once. Fix: see why %(upstream)s hangs; if it is slow "
        "by nature, set BULKHEAD.HOSTS['%(upstream)s']['SHARE']."
    )
    label_fields = ("dry_run",)
    upstream: str
    held: int
    threads: int
    elapsed: float
    usual: float
    dry_run: bool = False

    def _phrases(self) -> Words:
        return {
            "limited": "would have limited (dry run)" if self.dry_run else "limited",
            "usually": f"usually {self.usual:.2g} s" if self.usual else "unknown until now",
        }


class UpstreamRecovered(Event):
    """An upstream that was limited answers again, and the limit is gone."""

    component = "bulkhead"
    code = "RW112"
    level = logging.INFO
    template = (
        "%(upstream)s answers again and is no longer limited: %(refused)d calls were refused, "
        "%(ended)d ended"
    )
    label_fields = ("dry_run",)
    upstream: str
    refused: int
    ended: int
    dry_run: bool = False
