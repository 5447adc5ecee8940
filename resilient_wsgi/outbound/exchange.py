"""The exchange that is under way: when it began, when it must have ended, what it is doing, why it
was given up.

The outermost client that is called owns it (requests, not the urllib3 within); those within find it
in a context variable and join. It belongs to the thread of the call; a response that is still being
read carries it along.
"""

from __future__ import annotations

import math
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Optional, Tuple, Union
from urllib.parse import urlsplit

from .. import deadline
from ..core.system import SYSTEM
from ..core.text import printable
from ..deadline import Deadline
from ..settings.options import AUTO, ENFORCE
from . import policy
from .exceptions import Limited, TimedOut
from .policy import DEFAULTS, Limit, Limits, guard, installed
from .waiting import Waiting

if TYPE_CHECKING:
    from ..events.upstreams import Phase
    from .dry_run import DryRun

active: ContextVar[Optional[Exchange]] = ContextVar(
    "resilient_wsgi.outbound.exchange", default=None
)

# a wait may miss its limit by this much: setting a socket's timeout again for each read would cost
# more than that is worth
SLACK = 0.002

_DNS_AT_LEAST = 1.0
_LATER = 0.01  # than the caller's own limit of silence, for which the same number stands
_PAUSE = 0.05  # less than this between two reads is no pause of the app's
_HEAD_BYTES = 4096
_PORTS = {"http": 80, "https": 443}
_NO_LIMIT = Limit(math.inf, "", "nothing")

# a deadline finds its words only when they are asked for
Why = Union[Limit, Deadline]
# a URL as a text, host and port, or a URL of httpx's
Target = Union[str, Tuple[str, Optional[int]], Any]


class Exchange(Waiting):
    """One outbound call and its limits.

    `end` is the point on the monotonic clock at which it has to be over.

    `why` is the limit that `end` comes from. While a connection is being made, both are those of
    the connect limit.
    """

    # what most exchanges never change is kept in the class: making one is part of the cost of every
    # call
    phase: Phase = "connect"
    connecting = False
    dry_run: Optional[DryRun] = None  # in report mode
    method = ""
    path = ""  # where the target has none
    head: Any = b""  # what http.client has sent first
    task: Any = None  # of asyncio or trio, while it waits
    _told: Optional[Why] = None
    shortened = False
    """Whether the last wait was given less than the silence that is allowed: then it was not the
    silence that ended it.
    """
    _paused = 0.0
    stretches_above = math.inf
    """The caller's numbers above this make the total longer: see `stretch`."""
    limits: Limits
    end: float
    why: Why
    _target: Target
    _connect: Tuple[float, Why]
    _total: Tuple[float, Why]
    _whole: Tuple[float, Limit]  # the total, whatever the deadline is

    def __init__(
        self, target: Target, none_given: bool = False, has_stream_flag: bool = True
    ) -> None:
        self.start = SYSTEM.monotonic()
        # the client has a flag for streaming: where it is set, the total ends with the headers
        self.has_stream_flag = has_stream_flag
        self._none_given = none_given
        self._scope = scope = deadline.CURRENT.get()
        self._request = request = deadline.request_of(scope)
        now = installed.policy
        if now.by_host or none_given or policy.block() is not None:
            self.visit(target)
        else:  # the same, quickly
            self._target, self.limits = target, now.elsewhere if request is None else now.in_request
        total = self.limits.total
        self._whole = self.end, self.why = self.start + total.seconds, total
        if total.by in DEFAULTS:
            self.stretches_above = total.seconds
        self._deadline = last = deadline.in_force(scope)
        if last is not None and last.at < self.end:
            self.end, self.why = last.at, last
        if now.report:
            from .dry_run import DryRun

            self.dry_run = DryRun(self.host)

    def visit(self, target: Target) -> None:
        """Take the connect and read limits of the host that is called now: the first one, or that
        of a redirect.
        """
        self._target = target
        now, block = installed.policy, policy.block()
        if block is None and not now.by_host:
            self.limits = now.elsewhere if self._request is None else now.in_request
        else:
            self.limits = now.limits(*self._address(), self._request is not None)
        if self._none_given and now.explicit_none != ENFORCE and block is None:
            self._respect_none(now.explicit_none)

    def _respect_none(self, how: str) -> None:
        if how != AUTO:
            self.limits = policy.unlimited_by("", "caller_none")
        elif self._request is None and self.limits.read.by_default:
            self.limits = self.limits._replace(read=Limit(math.inf, "", "caller_none"))

    def visited(self) -> Tuple[Target, Limits, Any]:
        """Return what `revisit` takes to undo a `visit`."""
        return self._target, self.limits, self.call

    def revisit(self, visited: Tuple[Target, Limits, Any]) -> None:
        """Go on with the host that was called before another one was: by a hook of the app, say."""
        self._target, self.limits, call = visited
        if call is not None:
            if self.call is not call and not self.limited:
                self.leave(None)
            self.call = call
            call.gate.resume(call)

    def stretch(self, own: float, answer: bool = False) -> None:
        """Have the total be a number of the caller's, if that is more than the default.

        What the caller has allowed for one wait must not be cut by a default.
        With `answer` the first wait for the answer begins: it gets the whole number, whatever
        connecting and sending took.
        """
        if own <= self.stretches_above:
            return
        end = SYSTEM.monotonic() + own + _LATER if answer else self.start + own
        if end > self._whole[0]:
            self._end_whole(end, Limit(own, "", "caller_total"))
        if answer:
            self.stretches_above = own

    def _end_whole(self, end: float, why: Limit) -> None:
        """Have the whole exchange end at a point in time, or at the deadline if that is earlier."""
        self._whole = (end, why)
        last = self._deadline
        ends: Tuple[float, Why] = (end, why) if last is None or last.at >= end else (last.at, last)
        if self.connecting:
            self._total = ends
        else:
            self.end, self.why = ends

    def outlived(self) -> bool:
        """Tell whether the deadline has gone that the call was to end by; have the limits hold that
        are in force now.

        The request or the block that it began in may be over, or was given more time. A thread that
        a request has started may go on with its call: what limits requests was for the client that
        has its answer now.
        """
        if self.limited:
            return False
        request, last = deadline.request_of(self._scope), deadline.in_force(self._scope)
        later = last is not None and self.why is last and last.at > self.end
        if request is self._request and last is self._deadline and not later:
            return False
        self._deadline = last
        whole = self._whole
        if request is not self._request:
            self._request = request
            self.visit(self._target)
            total = self.limits.total
            whole = whole if whole[1] is _NO_LIMIT else (self.start + total.seconds, total)
        self._end_whole(*whole)
        return True

    def release(self) -> None:
        """Lift the total: the caller reads the body itself from here on.

        Silence and the request's deadline stay limited.
        """
        self._end_whole(math.inf, _NO_LIMIT)
        self.stretches_above = math.inf

    def pause(self) -> None:
        """Note that the app goes on with something else: http.client hands it each part of an
        exchange alone.
        """
        self._paused = SYSTEM.monotonic()
        if self.call is not None:
            self.call.gate.pause(self.call)

    def resume(self) -> None:
        """Have the total end later by what the app has done since `pause`; the request's deadline
        stays where it is.
        """
        if self.call is not None and self.call.away:
            self.call.gate.resume(self.call)
        paused, self._paused = self._paused, 0.0
        away = SYSTEM.monotonic() - paused if paused else 0.0
        if away > _PAUSE and isinstance(self.why, Limit):
            end, why = self._whole
            self._end_whole(end + away, why)

    def wait(self, silence: float) -> float:
        """Return how many seconds the next wait may take, at most `silence`.

        Raises `TimedOut` if there are none.
        """
        left = self.end - SYSTEM.monotonic()
        if left <= 0:
            if not self.connecting and self.outlived():
                return self.wait(silence)
            self.shortened = True
            raise self.give_up(self.why)
        self.shortened = left < silence
        return min(left, silence)

    def check(self, phase: Phase) -> None:
        """Raise `TimedOut` if the time is up when a new phase is to begin."""
        if self.end <= SYSTEM.monotonic():
            self.phase = phase
            raise self.give_up(self.why)

    def expired(self) -> bool:
        """Tell whether the whole exchange is out of time: nothing is to be tried again."""
        return self.end <= SYSTEM.monotonic() + SLACK

    def silent(self, own: Optional[float], read: Optional[Limit] = None) -> socket.timeout:
        """Return what to raise after a wait in vain.

        `own` is the caller's limit of silence, None where it gave none; then it was `read`, if that
        is not the one of the host that is being called.
        """
        if self.shortened:
            return self.give_up(self.why)
        return self.give_up((read or self.limits.read) if own is None else Limit(own, "", "caller"))

    def give_up(self, why: Why, saying: str = "") -> socket.timeout:
        """Return the exception to raise: ours, or where the limit is the caller's own, what sockets
        raise.
        """
        if self.limited:
            return self._limited()
        limit = why if isinstance(why, Limit) else _limit_of(why)
        if limit.by == "caller":  # who gives a number knows it, and has code for what comes of it
            return socket.timeout("timed out")
        elapsed = SYSTEM.monotonic() - self.start
        message = f"gave up on {self.host} in phase {self.phase} after {elapsed:.2f} s"
        if saying:
            message += f" ({saying})"
        error = TimedOut(f"{message}: limit {limit.seconds:g} s ({limit.source})")
        error.phase = self.phase
        if why is not self._told:  # not again for each layer, or each try, that meets the same end
            self._told = why
            self._say(elapsed, limit)
        return error

    def _limited(self) -> socket.timeout:
        error = Limited(f"{self.host} is limited: {self.limited}")
        # what was not begun is reported as a connection that did not come about
        error.phase = self.phase if self.phase in ("headers", "body", "send") else "connect"
        return error

    def end_early(self) -> None:
        """Have all that is still tried fail at once: the upstream is limited."""
        self.stretches_above = math.inf
        self.connecting = False
        self._whole = self._total = self.end, self.why = 0.0, _NO_LIMIT

    def left_of_deadline(self) -> float:
        """Return the seconds until the deadline, less than 0 once it has passed; infinite where
        there is none.
        """
        return math.inf if self._deadline is None else self._deadline.remaining()

    def interrupted(self) -> socket.timeout:
        """Return the exception to raise where the watchdog of requests has ended a wait."""
        if self.limited:
            self.end_early()
        return self.give_up(self._deadline or self.why, "ended from outside")

    @property
    def in_request(self) -> bool:
        """Tell whether a deadline held where it began."""
        return self._deadline is not None

    def _say(self, elapsed: float, limit: Limit) -> None:
        with guard:
            from . import report

            report.gave_up(self, elapsed, limit)

    def begin_connect(self, own: Optional[float]) -> None:
        """Let the connect limit be the end until `end_connect`.

        `own` is the caller's, None where it gave none.
        """
        limit = self.limits.connect if own is None else Limit(own, "", "caller")
        if own is not None:
            self.allow(own)
            if own > self.stretches_above:
                self.stretch(own)
        self._connect = (SYSTEM.monotonic() + limit.seconds, limit)
        self.resume_connect()

    def begin_names(self) -> None:
        """Let DNS have a second where the caller's own number is less: to the clients themselves,
        DNS is no part of it.
        """
        limit = self._connect[1]
        if isinstance(limit, Limit) and limit.by == "caller":
            self._end_by(SYSTEM.monotonic() + max(limit.seconds, _DNS_AT_LEAST), limit)

    def end_names(self) -> None:
        """Have the caller's own number hold from here on, for all addresses and TLS together."""
        limit = self._connect[1]
        if isinstance(limit, Limit) and limit.by == "caller":
            self._connect = (SYSTEM.monotonic() + limit.seconds, limit)
            self._end_by(*self._connect)

    def _end_by(self, end: float, why: Why) -> None:
        self.end, self.why = (end, why) if end < self._total[0] else self._total

    def resume_connect(self) -> None:
        """Let what is left of the connect limit be the end again, for the part of connecting that
        comes now.
        """
        if not self.connecting:
            self._total = (self.end, self.why)
        self.connecting = True
        self.phase = "connect"
        self._end_by(*self._connect)

    def end_connect(self) -> None:
        """Let the end of the whole exchange hold again."""
        if self._handshake is not None:
            self._handshake.disarm()
            self._handshake = None
        if self._twin is not None:
            self._twin.close()
            self._twin = None
        self.connecting = False
        self.end, self.why = self._total

    @property
    def host(self) -> str:
        """Return the host that is called, for messages."""
        return printable(self._address()[0] or "an unknown host")

    @property
    def request(self) -> str:
        """Return method and path of the request that it began in, `""` outside of requests."""
        return "" if self._request is None else str(self._request.name)

    def called(self) -> Tuple[str, str, Optional[int], str]:
        """Return method, host, port and path of what is called, the path without its query."""
        method, path = self.method, self.path
        if self.head:  # http.client keeps no path; the first line that it sends has it
            method, _, line = bytes(self.head[:_HEAD_BYTES]).decode("latin-1").partition(" ")
            path = line.partition(" ")[0]
        if not path and not isinstance(self._target, tuple):
            path = self._target if isinstance(self._target, str) else self._target.path
        host, port = self._address()
        return method, host, port, urlsplit(path).path if "://" in path else path.partition("?")[0]

    def __str__(self) -> str:
        return f"{self.host} ({self.phase})"

    def __repr__(self) -> str:
        left = self.end - SYSTEM.monotonic()
        source = self.why.source
        return f"<Exchange with {self.host}, phase {self.phase}, {left:.3f} s left ({source})>"

    def _address(self) -> Tuple[str, Optional[int]]:
        if isinstance(self._target, tuple):
            return self._target
        try:
            if isinstance(self._target, str):
                parts = urlsplit(self._target)
                return parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
            return self._target.host, self._target.port or _PORTS.get(self._target.scheme)
        except ValueError:  # the client will say what is wrong with the URL
            return "", None


def _limit_of(deadline_: Deadline) -> Limit:
    if deadline_.of_request:
        return Limit(deadline_.limit, deadline_.name, "request_deadline")
    return Limit(deadline_.limit, deadline_.source, "deadline")


def as_number(timeout: Any) -> Optional[float]:
    """Return a client's timeout as a number; None where it has none.

    The clients' marks for "not given" are no numbers.
    """
    return timeout if isinstance(timeout, (int, float)) else None


def is_none(timeout: Any) -> bool:
    """Return whether a client's timeout says that a read may take for ever: None itself, or in a
    pair or an object.
    """
    if timeout is None or isinstance(timeout, (int, float)):
        return timeout is None
    if isinstance(timeout, tuple):  # requests: (connect, read)
        return len(timeout) > 1 and timeout[1] is None
    # urllib3.Timeout
    return getattr(timeout, "_read", 0) is None and getattr(timeout, "total", 0) is None
