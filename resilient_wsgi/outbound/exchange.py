"""The exchange that is under way: when it began, when it must have ended, what it is doing, why it was given up.

The outermost client that is called owns it (requests, not the urllib3 within); those within find it in a context variable
and join. It belongs to the thread of the call; a response that is still being read carries it along.
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from typing import Any, Optional, Tuple, Union
from urllib.parse import urlsplit

from .. import deadline, events
from ..core.text import printable
from ..deadline import Deadline
from ..settings import ENFORCE
from . import policy
from .native import TimedOut
from .policy import Limit, Limits
from .watched import Watch

active: ContextVar[Optional[Exchange]] = ContextVar("resilient_wsgi.outbound.exchange", default=None)

# a wait may end this much beside its limit: what setting a socket's timeout anew in each read would cost is not worth it
SLACK = 0.002

CALLER = "the caller's timeout"
_DNS_AT_LEAST = 1.0
_NO_LIMIT = Limit(math.inf, "")

# a deadline finds its words only when they are asked for
Why = Union[Limit, Deadline]
Target = Union[str, Tuple[str, Optional[int]]]


class Exchange:
    """One outbound call and its limits. `end` is the point on the monotonic clock at which it has to be over.

    `why` is the limit that `end` comes from. While a connection is being made, both are those of the connect limit.
    """

    # what most exchanges never change is kept in the class: making one is part of the cost of every call
    phase = "connect"
    connecting = False
    watch: Optional[Watch] = None  # in report mode
    failure: Optional[TimedOut] = None
    limits: Limits
    end: float
    why: Why
    _target: Target
    _connect: Tuple[float, Why]
    _total: Tuple[float, Why]

    def __init__(self, target: Target, none_given: bool = False, flagged: bool = True) -> None:
        self.start = time.monotonic()
        self.flagged = flagged  # the client has a flag for streaming: where it is set, the total ends with the headers
        now = policy.policy
        if now.by_host or none_given or policy.block() is not None:
            self.visit(target, none_given)
        else:  # the same, quickly
            self._target, self.limits = target, now.default
        total = self.limits.total
        self.why = total
        self.end = self.start + total.seconds
        self._deadline = last = deadline.current()
        if last is not None and last.at < self.end:
            self.end, self.why = last.at, last
        if now.report:
            self.watch = Watch()

    def visit(self, target: Target, none_given: bool = False) -> None:
        """Take the connect and read limits of the host that is called now: the first one, or that of a redirect."""
        self._target = target
        now, block = policy.policy, policy.block()
        if none_given and now.options.explicit_none != ENFORCE and block is None:
            self.limits = policy.unlimited_by("the caller's timeout=None")
        elif block is None and not now.by_host:
            self.limits = now.default
        else:
            self.limits = now.limits(*self._address())

    def release(self) -> None:
        """Lift the total: the caller reads the body itself from here on. Silence and the request's deadline stay limited."""
        self.end, self.why = math.inf, _NO_LIMIT
        last = self._deadline
        if last is not None:
            self.end, self.why = last.at, last

    def wait(self, silence: float) -> float:
        """Return how many seconds the next wait may take, at most `silence`. Raises `TimedOut` if there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.give_up(self.why)
        return min(left, silence)

    def check(self, phase: str) -> None:
        """Raise `TimedOut` if the time is up when a new phase is to begin."""
        if self.end <= time.monotonic():
            self.phase = phase
            raise self.give_up(self.why)

    def expired(self) -> bool:
        """Tell whether the whole exchange is out of time: nothing is to be tried again."""
        return self.end <= time.monotonic() + SLACK

    def silent(self, own: Optional[float]) -> TimedOut:
        """Return what to raise after a wait in vain; `own` is the caller's limit of silence, None where it gave none."""
        if not self.expired():
            return self.give_up(self.limits.read if own is None else Limit(own, CALLER))
        return self.failure or self.give_up(self.why)

    def give_up(self, why: Why, saying: str = "") -> TimedOut:
        """Return the exception to raise, and remember it for the client's outer layers, which may hide it."""
        limit = why if isinstance(why, Limit) else Limit(why.limit, why.source)
        elapsed = time.monotonic() - self.start
        message = f"gave up on {self.host} in phase {self.phase} after {elapsed:.2f} s"
        if saying:
            message += f" ({saying})"
        error = TimedOut(f"{message}: limit {limit.seconds:g} s ({limit.source})")
        error.phase = self.phase
        error.by_caller = limit.source is CALLER
        # not again for each layer that meets the same end; and who polls with a timeout of its own knows what it does
        if self.failure is None and not error.by_caller:
            self._say(elapsed, limit)
        self.failure = error
        return error

    def interrupted(self) -> TimedOut:
        """Return the exception to raise where the watchdog of requests has ended a wait."""
        return self.give_up(self._deadline or self.why, "ended from outside")

    @property
    def in_request(self) -> bool:
        """Tell whether a deadline held where it began."""
        return self._deadline is not None

    def _say(self, elapsed: float, limit: Limit) -> None:
        events.emit(events.OutboundTimedOut(self.host, self.phase, elapsed, limit.seconds, limit.source))

    def begin_connect(self, own: Optional[float]) -> None:
        """Let the connect limit be the end until `end_connect`. `own` is the caller's, None where it gave none."""
        limit = self.limits.connect if own is None else Limit(own, CALLER)
        self._connect = (time.monotonic() + limit.seconds, limit)
        self.resume_connect()

    def begin_names(self) -> None:
        """Let DNS have a second where the caller's own number is less: to the clients themselves, DNS is no part of it."""
        limit = self._connect[1]
        if isinstance(limit, Limit) and limit.source is CALLER:
            self._end_by(time.monotonic() + max(limit.seconds, _DNS_AT_LEAST), limit)

    def end_names(self) -> None:
        """Have the caller's own number hold from here on, for all addresses and TLS together."""
        limit = self._connect[1]
        if isinstance(limit, Limit) and limit.source is CALLER:
            self._connect = (time.monotonic() + limit.seconds, limit)
            self._end_by(*self._connect)

    def _end_by(self, end: float, why: Why) -> None:
        self.end, self.why = (end, why) if end < self._total[0] else self._total

    def resume_connect(self) -> None:
        """Let what is left of the connect limit be the end again, for the part of connecting that comes now."""
        if not self.connecting:
            self._total = (self.end, self.why)
        self.connecting = True
        self.phase = "connect"
        self._end_by(*self._connect)

    def end_connect(self) -> None:
        """Let the end of the whole exchange hold again."""
        self.connecting = False
        self.end, self.why = self._total

    @property
    def host(self) -> str:
        """Return the host that is called, for messages."""
        return printable(self._address()[0] or "an unknown host")

    def __str__(self) -> str:
        return f"{self.host} ({self.phase})"

    def __repr__(self) -> str:
        return f"<Exchange with {self.host}, phase {self.phase}, {self.end - time.monotonic():.3f} s left ({self.why.source})>"

    def _address(self) -> Tuple[str, Optional[int]]:
        if not isinstance(self._target, str):
            return self._target
        try:
            parts = urlsplit(self._target)
            return parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        except ValueError:  # the client will say what is wrong with the URL
            return "", None


def as_number(timeout: Any) -> Optional[float]:
    """Return a client's timeout as a number; None where it has none. The clients' marks for "not given" are no numbers."""
    return timeout if isinstance(timeout, (int, float)) else None
