"""The events of outbound calls and their upstreams, a frozen record each: a call is ended by a
limit, fair share limits an upstream, which answers again.
"""

from __future__ import annotations

import logging
from typing import Literal, Optional

from .base import Event, LimitedBy, Words, limit_fix, limit_source, seconds_of

Phase = Literal[
    "connect", "dns", "tls", "pool", "send", "headers", "body", "redirect", "retry-sleep"
]
Problem = Literal["no_timeout", "timeout_none", "beyond_limit"]
PROBLEMS = {"no_timeout": "without a timeout", "timeout_none": "with timeout=None"}


class OutboundTimedOut(Event):
    """An outbound exchange was ended by a limit of this library.

    `limited_by` is the kind of limit, `setting` the name of it; `limit` is None where a wait was
    ended from outside and nothing else limited it. `path` has no query. `caller` is file:line of
    the app, `request` the method and path of the request that made the call. `port` 0 is not known.
    `count` calls of this line were ended since it was last logged.
    """

    component = "outbound"
    code = "RW101"
    template = (
        "gave up on %(target)s after %(elapsed).1f s (phase %(phase)s, limit %(limit_s)s: "
        "%(source)s%(where)s%(in_request)s%(times)s).%(fix)s"
    )
    label_fields = ("phase", "limited_by")
    host: str
    phase: Phase
    elapsed: float
    limit: Optional[float]
    limited_by: LimitedBy
    setting: str = ""
    port: int = 0
    method: str = ""
    path: str = ""
    caller: str = ""
    function: str = ""
    request: str = ""
    count: int = 1

    def _phrases(self) -> Words:
        shown = self.fields()
        host = shown["host"] or "an unknown host"
        where = "; caller {caller} in {function}".format(**shown) if self.caller else ""
        name = shown["request"] if self.limited_by == "request_deadline" else shown["setting"]
        return {
            "target": f"{shown['method']} ".lstrip()
            + (f"[{host}]" if ":" in host else host)
            + (f":{self.port}" if self.port else "")
            + shown["path"],
            "limit_s": seconds_of(self.limit),
            "source": limit_source(self.limited_by, name),
            "where": where,
            "in_request": f"; request {shown['request']}" if self.request else "",
            "times": f"; {self.count} times since last logged" if self.count > 1 else "",
            "fix": limit_fix(self.limited_by, host, shown["setting"]),
        }


class OutboundUnbounded(Event):
    """Dry run: an outbound call ran without a timeout, or for longer than a limit that would have
    applied.

    `caller` is file:line of the app; `limit`, `limited_by` and `setting` tell the limit, if any.
    """

    component = "outbound"
    code = "RW102"
    template = (
        "%(caller)s: call to %(host)s %(what)s (took %(elapsed).2f s); dry run, the call was not "
        "limited"
    )
    label_fields = ("problem", "limited_by")
    host: str
    caller: str
    problem: Problem
    elapsed: float
    limit: Optional[float] = None
    limited_by: LimitedBy = "nothing"
    setting: str = ""

    def _phrases(self) -> Words:
        source = limit_source(self.limited_by, self.fields()["setting"])
        beyond = f"beyond {seconds_of(self.limit)} ({source})"
        return {"what": {**PROBLEMS, "beyond_limit": beyond}[self.problem]}


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
