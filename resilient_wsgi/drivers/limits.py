"""How long a driver may wait here and now: until the deadline, and so long to connect."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Type

from .. import deadline
from ..core.guard import Guard
from ..core.system import SYSTEM, System
from ..deadline import Deadline
from ..errors import DeadlineExceeded
from ..events.base import LimitedBy, limit_source
from ..events.drivers import DriverPhase
from ..settings.options import AUTO, OFF, REPORT, Drivers
from .exceptions import TimedOut, caused_by, translated

if TYPE_CHECKING:
    from .report import Reports

CONNECT_IN_REQUEST = 5.0
CONNECT_ELSEWHERE = 10.0
# what begins after the deadline still gets this: a rollback, the release of a lock, an error page
AFTERWARDS = 0.2
# a commit that was cut leaves open whether it was done: it may take this much longer
COMMIT_GRACE = 5.0
SLACK = 0.002  # poll takes whole milliseconds


class End(NamedTuple):
    """When a wait must be over, on the monotonic clock, and whose limit of how many seconds that
    is.
    """

    at: float
    seconds: float
    by: LimitedBy
    setting: str

    @classmethod
    def of(cls, held: Deadline, at: float) -> End:
        """Return the end that a deadline sets."""
        if held.of_request:
            return cls(at, held.limit, "request_deadline", held.name)
        return cls(at, held.limit, "deadline", held.source)


class Limits:
    """The settings of the section, made ready to be asked in each wait. The patches have one."""

    def __init__(self, guard: Guard, system: System = SYSTEM) -> None:
        self._system = system
        self._reports: Optional[Reports] = None
        self.guard = guard
        self.configure(Drivers(mode=OFF))

    def __repr__(self) -> str:
        return f"<Limits {self._options.mode}>"

    def configure(self, options: Drivers) -> None:
        """Have these settings hold for waits that begin from now on."""
        self._options = options
        self._on = options.mode != OFF
        self.report = options.mode == REPORT
        self.statement_timeout = options.statement_timeout
        self._reports = None

    def deadline(self, exempt: str = "") -> Optional[Deadline]:
        """Return the deadline in force here if waits are to end by it, else None."""
        scope = deadline.CURRENT.get()
        if scope is None or not self.holds_for(exempt):
            return None
        return deadline.in_force(scope)

    def holds_for(self, service: str) -> bool:
        """Return whether a driver is to be limited."""
        return self._on and service not in self._options.exempt

    def now(self) -> float:
        """Return the time on the monotonic clock."""
        return self._system.monotonic()

    def at_most(self, service: str, own: Optional[float]) -> Optional[float]:
        """Return what a wait that the driver limits itself may take: `own`, its number or None, or
        what is left until the deadline if that is less.
        """
        held = self.deadline(service)
        if held is None or self.report:
            return own
        left = max(held.remaining(), AFTERWARDS)
        return left if own is None or left < own else own

    def is_over(self, service: str, seconds: float = 0.0) -> bool:
        """Return whether the deadline has passed, or will have in so many seconds: then nothing is
        to be tried again.
        """
        held = self.deadline(service)
        return held is not None and not self.report and held.remaining() <= seconds + SLACK

    def connecting(self, service: str, own: Optional[float], peer: Callable[[], str]) -> Connecting:
        """Return a context manager around connecting; its `seconds` are what it may take.

        `own` is the number that the driver was given, or has as its default.
        """
        end = self._connect_end(service, own) if self.holds_for(service) else None
        return Connecting(self, service, own, end, peer)

    def _connect_end(self, service: str, own: Optional[float]) -> Optional[End]:
        now = self._system.monotonic()
        end = End(now + own, own, "caller", "") if own is not None else self._by_default(now)
        held = self.deadline(service)
        if held is not None and held.at < end.at:
            end = End.of(held, max(held.at, now + AFTERWARDS))
        return None if end.by == "caller" or end.at == math.inf else end

    def _by_default(self, now: float) -> End:
        given = self._options.connect_timeout
        if given is None:
            return End(math.inf, math.inf, "nothing", "")
        if given != AUTO:
            return End(now + float(given), float(given), "setting", "DRIVERS.CONNECT_TIMEOUT")
        if deadline.in_request():
            seconds = CONNECT_IN_REQUEST
            return End(now + seconds, seconds, "default_in_request", "CONNECT_TIMEOUT")
        return End(now + CONNECT_ELSEWHERE, CONNECT_ELSEWHERE, "default", "CONNECT_TIMEOUT")

    def over(
        self, service: str, peer: str, end: End, began: float, phase: DriverPhase = "wait"
    ) -> TimedOut:
        """Report that a limit has ended a wait, and return what to raise."""
        waited = self._system.monotonic() - began
        self.announce(service, peer, end, began, phase)
        target = f"{service} {peer}".strip()
        return TimedOut(
            f"gave up on {target} after {waited:.2f} s: limit {end.seconds:g} s "
            f"({limit_source(end.by, end.setting)})"
        )

    def announce(
        self, service: str, peer: str, end: End, began: float, phase: DriverPhase = "wait"
    ) -> None:
        """Report a wait that a limit has ended, or in a dry run would have."""
        waited = self._system.monotonic() - began
        with self.guard:
            if self._reports is None:
                from .report import Reports

                self._reports = Reports()
            self._reports.gave_up(service, peer, phase, waited, end, self.report)


class Connecting:
    """Connecting of a driver, with what it may take."""

    __slots__ = ("_began", "_end", "_handled", "_limits", "_peer", "_service", "seconds")

    def __init__(
        self,
        limits: Limits,
        service: str,
        own: Optional[float],
        end: Optional[End],
        peer: Callable[[], str],
    ) -> None:
        self._limits = limits
        self._service = service
        self._end = end
        self._peer = peer
        self._handled = sys.exc_info()[1]
        self._began = limits.now()
        held = end is not None and not limits.report
        self.seconds = end.at - self._began if held and end is not None else own

    def __enter__(self) -> Connecting:  # noqa: PYI034 - typing.Self is newer than 3.9
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        end = self._end
        if end is None or self._limits.now() < end.at - SLACK:
            return
        if self._limits.report:
            self._limits.announce(self._service, self._name(), end, self._began, "connect")
        elif isinstance(error, Exception) and not self._says_so(error):
            limit = self._limits.over(self._service, self._name(), end, self._began, "connect")
            raise translated(error, limit) from None

    def _name(self) -> str:
        with self._limits.guard:
            return self._peer()
        return ""

    def _says_so(self, error: Exception) -> bool:
        ours = isinstance(error, DeadlineExceeded)
        return ours or caused_by(error, self._handled) is not None


def number(timeout: Any) -> Optional[float]:
    """Return a driver's timeout as a number; None where it has none."""
    return timeout if isinstance(timeout, (int, float)) else None
