"""The events of requests, log lines and listen queues, a frozen record each.

Fields are data as it came: numbers, names, and one of a few words where there are only a few
values. `upstreams` has the events of outbound calls, `lifecycle` those of threads and
workers, `base` what they all are.
"""

from __future__ import annotations

import logging
from typing import Literal, Optional

from .base import (
    Event,
    Words,
    backlog_fix,
    doing,
    waits_ended,
)

Outcome = Literal["recycled", "rate_limited", "dry_run"]
_OUTCOMES = {
    "recycled": "is draining and will be replaced",
    "rate_limited": "stays, because enough workers were replaced in this minute "
    "(RECYCLES_PER_MINUTE)",
    "dry_run": "would be replaced (dry run, nothing was done)",
}
SocketKind = Literal["tcp", "unix"]
HowEnded = Literal["reset", "shutdown"]
StreamKind = Literal["pipe", "socket"]
Takeover = Literal["reopened", "shared_flag", "send_timeout", "already_non_blocking", "none"]
TAKEOVERS = {
    "reopened": "reopened",
    "shared_flag": "O_NONBLOCK on the shared description",
    "send_timeout": "writes wait for 1 s at most (SO_SNDTIMEO)",
    "already_non_blocking": "already non-blocking",
    "none": "nothing",
}


# -- requests


class ClientGone(Event):
    """A request was taken from the queue whose client had hung up; the app was not called."""

    component = "request"
    code = "RW206"
    level = logging.DEBUG
    template = "%(skipped)s %(method)s %(path)s: its client is gone"
    label_fields = ("dry_run",)
    method: str
    path: str
    dry_run: bool = False

    def _phrases(self) -> Words:
        return {"skipped": "dry run: would have skipped" if self.dry_run else "skipped"}


class ClientLeft(Event):
    """The client of a running request hung up; `interrupted` of its waits were ended."""

    component = "request"
    code = "RW207"
    level = logging.INFO
    template = "the client of %(method)s %(path)s left after %(elapsed).2f s; %(ended)s"
    method: str
    path: str
    elapsed: float
    interrupted: int

    def _phrases(self) -> Words:
        return {"ended": waits_ended(self.interrupted) or "no wait was ended"}


class RequestSlow(Event):
    """A request has run for `SLOW_AFTER`; reported once for each request.

    `stacks` are those of all threads, empty if they were written less than a second ago; `limit` is
    None without a deadline; `waited` are the seconds in the queue.
    """

    component = "request"
    code = "RW201"
    blocks = ("stacks",)
    template = (
        "%(method)s %(path)s has run for %(elapsed).2f s%(of_limit)s (waited %(waited).2f s in the "
        "queue before)%(waits_for)s%(stacks_below)s"
    )
    method: str
    path: str
    elapsed: float
    limit: Optional[float]
    waited: float = 0.0
    waiting_for: str = ""
    stacks: str = ""

    def _phrases(self) -> Words:
        of_limit = ", without a deadline" if self.limit is None else f" of {self.limit:g} s"
        return {"of_limit": of_limit, **doing(self.fields())}


class RequestOverdue(Event):
    """A request has passed its deadline; `interrupted` of its waits were ended (in a dry run: could
    be).

    `soft_timeout` is whether `RequestTimedOut` was raised in it. If no wait was ended,
    `waiting_for` is what it waits for, and `reason` why that was not ended, where that is not
    plain.
    """

    component = "request"
    code = "RW202"
    template = (
        "%(method)s %(path)s has passed its deadline of %(limit)g s; %(ended)s%(waits_for)s"
        "%(raised)s"
    )
    label_fields = ("soft_timeout", "dry_run")
    method: str
    path: str
    elapsed: float
    limit: float
    interrupted: int
    soft_timeout: bool = False
    dry_run: bool = False
    waiting_for: str = ""
    reason: str = ""

    def _phrases(self) -> Words:
        ended = waits_ended(self.interrupted) or "no wait could be ended"
        shown = self.fields()
        because = f" ({shown['reason']})" if self.reason else ""
        return {
            "ended": "dry run, nothing was ended" if self.dry_run else ended,
            "waits_for": (f", waiting for {shown['waiting_for']}" if self.waiting_for else "")
            + because,
            "raised": "; RequestTimedOut is raised in it" if self.soft_timeout else "",
        }


class WaitEnded(Event):
    """A wait for a socket was ended because its request has passed its deadline, in any driver
    waited.

    `peer` is host:port or a path, `service` what usually answers there, `caller` file:line of the
    app. `how`: `reset` is an error for the driver, `shutdown` the end of the stream. `ends` are the
    waits of this request that were ended by now: reported for the first, the third and the last.
    """

    component = "request"
    code = "RW203"
    template = (
        "ended the %(what)s %(target)s: %(method)s %(path)s has passed its deadline of %(limit)g s "
        "(%(elapsed).2f s; caller %(caller)s in %(function)s%(times)s). Fix: give that client a "
        "timeout of its own, or this request more time (REQUEST.PATHS)"
    )
    label_fields = ("kind", "how", "connecting")
    method: str
    path: str
    elapsed: float
    limit: float
    kind: SocketKind
    peer: str
    service: str = ""
    connecting: bool = False
    caller: str = ""
    function: str = ""
    how: HowEnded = "reset"
    ends: int = 1

    def _phrases(self) -> Words:
        shown = self.fields()
        again = f"; {self.ends} waits of this request by now: its client connects again each time"
        return {
            "what": "connect to" if self.connecting else "wait for",
            "target": f"{shown['service']} {shown['peer'] or 'an unnamed socket'}".strip(),
            "times": again if self.ends > 1 else "",
        }


class WorkerRecycled(Event):
    """A worker with a request that nothing ends takes no more requests, lets the others finish, and
    is replaced.

    Unless `outcome` says that it is not: in a dry run, or because the instance has recycled enough
    workers in the last minute.
    """

    component = "request"
    code = "RW204"
    level = logging.ERROR
    template = (
        "worker %(worker)d (pid %(pid)d) %(what)s: %(method)s %(path)s has run for %(elapsed).1f s;"
        " its limit of %(limit)g s (REQUEST.TIMEOUT or PATHS) and %(grace)g s more"
        " (OVERDUE_GRACE) are over. Fix: if it may take longer, raise that limit"
    )
    label_fields = ("outcome",)
    worker: int
    pid: int
    method: str
    path: str
    elapsed: float
    outcome: Outcome
    limit: float
    grace: float

    def _phrases(self) -> Words:
        return {"what": _OUTCOMES[self.outcome]}


class WorkerKilled(Event):
    """A worker ended in the middle of a request (SIGKILL: harakiri, out of memory; a crash).

    Reported by a worker that starts later.
    """

    component = "request"
    code = "RW205"
    blocks = ("stacks",)
    level = logging.ERROR
    template = (
        "worker %(worker)d (pid %(pid)d) was killed in %(method)s %(path)s after %(elapsed).1f s"
        "%(waits_for)s%(stacks_below)s"
    )
    worker: int
    pid: int
    method: str
    path: str
    elapsed: float
    waiting_for: str = ""
    stacks: str = ""

    def _phrases(self) -> Words:
        return doing(self.fields())


class RequestShed(Event):
    """A request was answered 503 because it had waited too long (in a dry run: would have been)."""

    component = "overload"
    code = "RW303"
    level = logging.DEBUG
    template = (
        "%(shed)s %(method)s %(path)s: it had waited %(waited).2f s, %(allowed).2f s are allowed; "
        "%(depth)d in the queue"
    )
    label_fields = ("dry_run",)
    method: str
    path: str
    waited: float
    allowed: float
    depth: int
    dry_run: bool = False

    def _phrases(self) -> Words:
        return {"shed": "dry run: would have shed" if self.dry_run else "shed"}


class OverloadBegan(Event):
    """The first request in a while was shed by this instance; the others are not logged by default.

    `tolerated` is the wait from which on requests were in vain, because clients hang up; None where
    that is not known, and TARGET or MAX_WAIT has set the limit.
    """

    component = "overload"
    code = "RW301"
    template = (
        "overloaded: requests that wait longer than %(allowed).2f s %(are)s answered 503 "
        "(%(depth)d in the queue%(because)s)"
    )
    label_fields = ("dry_run",)
    allowed: float
    depth: int
    dry_run: bool = False
    tolerated: Optional[float] = None

    def _phrases(self) -> Words:
        tolerated = self.tolerated
        return {
            "are": "would be (dry run)" if self.dry_run else "are",
            "because": ""
            if tolerated is None
            else f"; after {tolerated:.2f} s there clients hang up before they have their answer",
        }


class OverloadEnded(Event):
    """No request of this instance had to be shed for a while."""

    component = "overload"
    code = "RW302"
    template = "overload over: %(shed)d requests %(were)s answered 503 in %(seconds).0f s"
    label_fields = ("dry_run",)
    shed: int
    seconds: float
    dry_run: bool = False
    tolerated: Optional[float] = None

    def _phrases(self) -> Words:
        return {"were": "would have been (dry run)" if self.dry_run else "were"}


# -- log lines, listen queues


class DescriptorTakenOver(Event):
    """A descriptor can no longer block this process and its children (in a dry run: it still can).

    `inherited` is true if it is neither standard output nor standard error.
    """

    component = "stderr"
    code = "RW402"
    level = logging.INFO
    template = "descriptor %(fd)d (%(whose)s%(kind)s) %(state)s"
    label_fields = ("kind", "method", "inherited", "dry_run")
    fd: int
    kind: StreamKind
    method: Takeover = "none"
    inherited: bool = False
    dry_run: bool = False

    def _phrases(self) -> Words:
        state = f"can no longer block: {TAKEOVERS[self.method]}"
        if self.dry_run:
            state = "can block (dry run, it was left as it is). Fix: RESILIENT_WSGI_STDERR=on"
        return {"whose": "inherited " if self.inherited else "", "state": state}


class LinesDropped(Event):
    """Lines that found no room on a descriptor, reported when there is room again."""

    component = "stderr"
    code = "RW401"
    template = (
        "%(lines)d lines (%(size_bytes)d bytes) dropped in %(seconds).1f s on descriptor %(fd)d"
    )
    fd: int
    lines: int
    size_bytes: int
    seconds: float


class BacklogSmall(Event):
    """A listen queue is shorter than the server was asked for, or than is wise.

    `allowed` is what the kernel allows (net.core.somaxconn), 0 if not known; `wanted` is how many
    connections it should hold.
    """

    component = "backlog"
    code = "RW311"
    template = (
        "listen queue of %(socket)s: asked %(asked)d, effective %(effective)d (net.core.somaxconn "
        "here: %(allowed)d). %(fix)s"
    )
    socket: str
    asked: int
    effective: int
    allowed: int
    wanted: int

    def _phrases(self) -> Words:
        return {"fix": backlog_fix(self.effective, self.wanted, self.allowed)}
