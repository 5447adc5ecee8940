"""Requests that have waited too long in the listen queue are answered 503, so that those behind
them are in time.

How long a request has waited follows from the time that the router has put into a header. Routers
write seconds, milliseconds, microseconds or nanoseconds, with or without `t=`; the size tells
which, as in the agents of New Relic and Scout. Their clock may be another machine's.

A client can send such a header, too. A router that sets it replaces the client's, one that appends
puts its own value last; a client that bypasses the router writes what it likes. So of several
values the last one counts, and what a single request says changes nothing for the others.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import TYPE_CHECKING, Iterable, List, Optional, Tuple

from ..core.environ import WAITED, matcher, method_and_path, path_of
from ..core.guard import Guard
from ..core.middleware import Gate
from ..core.system import SYSTEM, System
from ..events import RequestShed, SheddingBegan, SheddingEnded, emit
from ..host import sockets
from ..servers import Server
from ..settings.options import OFF, REPORT, Overload
from .shedding import ProbeAllowance, Shedding, Spell, looks_like_a_probe

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OWN_PROBES = ("/-/live", "/-/ready")
BODY = b"Too busy. Try again later.\n"
# seconds between two questions to the kernel about the queue's length
ASK_EVERY = 0.02
# after a request that waited less than this share of what is allowed, headers are not read for so
# long
CALM_SHARE = 0.1
CALM_SECONDS = 0.005
YEAR_2000 = 946_684_800.0
# a clock that differs by more is not trusted
PLAUSIBLE = 6 * 3600.0
# no request waits longer: one that seems to comes from another router, with another clock
LONGEST = 600.0
PERIOD = 60.0
PERIODS = 5
# how many requests have to show it, and one in how many, before the clocks are taken to differ by
# less
SUPPORT = 3
SUPPORT_ONE_IN = 100
MOST_SMALLEST = 64

_guard = Guard("overload")


class QueueMiddleware(Gate):
    """Answer 503 with `Retry-After` if a request has waited longer than allowed and the kernel
    agrees that there is a queue.

    The wait is put into `environ["resilient_wsgi.waited"]`, unless the request before, less than
    5 ms ago, had hardly waited; with `measures` always. Only the header that `QUEUE_HEADER` names
    is read; without it nothing is done. Whenever in doubt, the request passes: if the stamp is not
    plausible, the listen queue is empty or not known, or `MAX_SHED_SHARE` is reached.
    """

    def __init__(
        self,
        app: WSGIApplication,
        options: Overload,
        server: Server,
        system: System = SYSTEM,
        *,
        measures: bool = False,
    ) -> None:
        super().__init__(app)
        self._header = "HTTP_" + options.queue_header.upper().replace("-", "_")
        self._server = server
        self._now = system.monotonic
        self._wall_time = system.wall_time
        self._reports = options.mode == REPORT
        self._never = matcher([*options.critical, *OWN_PROBES])
        self._probes = ProbeAllowance(server.configuration.workers())
        self._first = matcher(options.sheddable)
        self._waited = Calibration().waited
        self._shedding = Shedding(options)
        self._surely_passes = math.inf if options.mode == OFF else self._shedding.surely_passes
        # the queue is first come, first served: a request just after one that has hardly waited has
        # hardly waited either
        self._calm = -math.inf if measures else CALM_SHARE * self._surely_passes
        self._read_again = -math.inf
        self._spell = Spell(self._shedding)
        self._depth: Tuple[float, int] = (-math.inf, 0)

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Optional[Iterable[bytes]]:
        """Answer a request that has waited too long."""
        header = environ.get(self._header)
        if not header:
            return None
        shed = None
        try:
            now = self._now()
            if now >= self._read_again:
                shed = self._measure(header, environ, now)
        except Exception as error:
            _guard.report(error)
        return None if shed is None or self._reports else self._refuse(shed, start_response)

    def _measure(self, header: str, environ: WSGIEnvironment, now: float) -> Optional[RequestShed]:
        stamp = parse(header)
        waited = None if stamp is None else self._waited(stamp, self._wall_time())
        if waited is None:
            return None
        environ[WAITED] = waited
        if waited <= self._calm:
            self._read_again = now + CALM_SECONDS
        if waited > self._surely_passes or self._shedding.watchful:
            return self._judge(environ, waited, now)
        return None

    def _judge(self, environ: WSGIEnvironment, waited: float, now: float) -> Optional[RequestShed]:
        """Return the event of a request that is shed, None for one that passes."""
        path = path_of(environ)
        allowed = self._shedding.allowed(waited, now, sheddable=bool(self._first(path)))
        event = None if waited <= allowed else self._late(environ, path, waited, allowed, now)
        if event is None:
            self._shedding.passed()
            self._note_end(now)
        return event

    def _late(
        self, environ: WSGIEnvironment, path: str, waited: float, allowed: float, now: float
    ) -> Optional[RequestShed]:
        if self._never(path):
            return None
        depth = self._queue_depth(now)
        if not depth or (looks_like_a_probe(path, environ) and self._probes.take(now)):
            return None
        if not self._shedding.may_shed():
            return None
        event = RequestShed(*method_and_path(environ), waited, allowed, depth, self._reports)
        if self._spell.shed(now):
            emit(SheddingBegan(allowed, depth, self._reports))
        emit(event)
        return event

    def _queue_depth(self, now: float) -> int:
        asked, depth = self._depth
        if now - asked >= ASK_EVERY:
            depth = sockets.queue_depth(self._server.connections.listening()) or 0
            self._depth = now, depth
        return depth

    def _note_end(self, now: float) -> None:
        ended = self._spell.over(now)
        if ended is not None:
            emit(SheddingEnded(*ended, self._reports))

    def _refuse(self, event: RequestShed, start_response: StartResponse) -> List[bytes]:
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(BODY))),
            ("Retry-After", str(max(1, math.ceil(event.waited)))),
            ("Cache-Control", "no-store"),
        ]
        start_response("503 Service Unavailable", headers)
        return [BODY]


def parse(text: str) -> Optional[float]:
    """Return the time in a header, in seconds since 1970; None if there is no plausible one.

    Of several values the last counts: it is that of the nearest router.
    """
    if "," in text:
        text = text.rpartition(",")[2].strip()
    try:
        number = float(text[2:] if text[:2] == "t=" else text)
    except ValueError:
        return None
    if number > YEAR_2000 * 1e6:
        return number / (1e9 if number > YEAR_2000 * 1e9 else 1e6)
    if number > YEAR_2000:
        return number / (1e3 if number > YEAR_2000 * 1e3 else 1.0)
    return None  # NaN too: it is not above anything


class Calibration:
    """How far the router's clock is behind this host's: the difference that hardly any request of
    the last minutes was below.

    So a clock that is behind makes no request look old. The price: in a new worker, or while the
    queue has not been empty for minutes, the least wait of all requests is taken for a difference
    of the clocks, and they seem to have waited less than they did. A router whose clock is ahead
    makes requests look younger than they are: a stamp of the future counts as no wait, which makes
    a forged one harmless.
    """

    __slots__ = (
        "_before",
        "_begun",
        "_count",
        "_floor",
        "_largest",
        "_past",
        "_smallest",
        "_until",
    )

    def __init__(self) -> None:
        self._past = [math.inf] * (PERIODS - 1)
        self._before = self._floor = math.inf
        self._begun = self._until = -math.inf
        self._smallest: List[float] = []  # of this period
        self._largest = math.inf  # of those
        self._count = 0

    def waited(self, stamp: float, wall: float) -> Optional[float]:
        """Return how long a request has waited, None if not known; `wall` is this host's clock."""
        difference = wall - stamp
        if not -PLAUSIBLE < difference < PLAUSIBLE:
            return None
        if not self._begun <= wall < self._until:  # also when the clock was set back
            self._next_period(wall)
        self._count += 1
        if difference < self._largest:
            self._note(max(0.0, difference))
        floor = self._floor
        if difference <= floor:
            return 0.0 if floor < math.inf else None
        waited = difference - floor
        return waited if waited < LONGEST else None

    def _note(self, difference: float) -> None:
        insort(self._smallest, difference)
        if len(self._smallest) > MOST_SMALLEST:
            self._smallest.pop()
            self._largest = self._smallest[-1]
        self._floor = min(self._least(), self._before)

    def _least(self) -> float:
        """Return the difference that enough requests of this period were at or below; infinity
        while there are too few.
        """
        if self._count < SUPPORT:
            return math.inf
        # of the first few, the one in the middle
        place = min(
            max(SUPPORT, self._count // SUPPORT_ONE_IN) - 1,
            (self._count - 1) // 2,
            len(self._smallest) - 1,
        )
        return self._smallest[place]

    def _next_period(self, wall: float) -> None:
        least = self._least()
        idle = not -PERIOD < wall - self._begun < PERIOD * PERIODS  # or the clock was set back
        if idle:
            self._past = [math.inf] * (PERIODS - 1)
        elif least < math.inf:
            self._past = [*self._past[1:], least]
        if idle or least < math.inf:  # otherwise those few count on
            self._smallest, self._largest, self._count = [], math.inf, 0
        self._before = self._floor = min(self._past)
        self._begun, self._until = wall, wall + PERIOD

    def __repr__(self) -> str:
        return f"<Calibration {self._floor:.3f} s>"
