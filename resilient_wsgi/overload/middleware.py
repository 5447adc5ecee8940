"""Requests that have waited too long in the listen queue: answered 503, so that those behind them
are in time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Iterable, List, Optional, Tuple

from ..core.environ import WAITED, matcher, method_and_path, path_of
from ..core.guard import Guard
from ..core.middleware import Gate
from ..core.system import SYSTEM, System
from ..events import RequestShed, SheddingBegan, SheddingEnded, emit
from ..host import sockets
from ..servers import Server
from ..settings.options import OFF, REPORT, Overload
from .exempt import Allowance, looks_like_a_probe
from .queue_time import Calibration, parse
from .shedding import Shedding, Spell

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OWN_PROBES = ("/-/live", "/-/ready")
BODY = b"Too busy. Try again later.\n"
# the kernel is asked for the queue's length at most this often
ASK_EVERY = 0.02
# after a request that waited less than this share of what any may wait, headers are not read for so
# long
CALM_SHARE = 0.1
CALM_SECONDS = 0.005

_guard = Guard("overload")


class QueueMiddleware(Gate):
    """Answer 503 with `Retry-After` where a request waited longer than allowed and the kernel
    agrees that there is a queue.

    It notes how long the request waited in `environ["resilient_wsgi.waited"]`, unless the one
    before, less than 5 ms ago, hardly had waited. It reads the one header that `QUEUE_HEADER`
    names. Without it it does nothing, and whenever something is doubtful it lets the request pass:
    a stamp that cannot be meant, a listen queue that is empty or not known, more requests shed than
    `MAX_SHED_SHARE` allows.
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
        self._probes = Allowance(server.configuration.workers())
        self._first = matcher(options.sheddable)
        self._waited = Calibration().waited
        self._shedding = Shedding(options)
        self._surely_passes = math.inf if options.mode == OFF else self._shedding.surely_passes
        # the queue is first come, first served: who is picked up just after one that hardly waited
        # has hardly waited either
        self._calm = -math.inf if measures else CALM_SHARE * self._surely_passes
        self._look_again = -math.inf
        self._spell = Spell(self._shedding)
        self._depth: Tuple[float, int] = (-math.inf, 0)

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Optional[Iterable[bytes]]:
        """Answer a request that waited too long."""
        header = environ.get(self._header)
        if not header:
            return None
        shed = None
        try:
            now = self._now()
            if now >= self._look_again:
                shed = self._look(header, environ, now)
        except Exception as error:
            _guard.report(error)
        return None if shed is None or self._reports else self._refuse(shed, start_response)

    def _look(self, header: str, environ: WSGIEnvironment, now: float) -> Optional[RequestShed]:
        stamp = parse(header)
        waited = None if stamp is None else self._waited(stamp, self._wall_time())
        if waited is None:
            return None
        environ[WAITED] = waited
        if waited <= self._calm:
            self._look_again = now + CALM_SECONDS
        if waited > self._surely_passes or self._shedding.watchful:
            return self._judge(environ, waited, now)
        return None

    def _judge(self, environ: WSGIEnvironment, waited: float, now: float) -> Optional[RequestShed]:
        """Return what is to be said of a request that is shed, None for one that passes."""
        path = path_of(environ)
        allowed = self._shedding.allowed(waited, now, sheddable=bool(self._first(path)))
        event = None if waited <= allowed else self._late(environ, path, waited, allowed, now)
        if event is None:
            self._shedding.passed()
            self._say_over(now)
        return event

    def _late(
        self, environ: WSGIEnvironment, path: str, waited: float, allowed: float, now: float
    ) -> Optional[RequestShed]:
        if self._never(path):
            return None
        depth = self._ask(now)
        if not depth or (looks_like_a_probe(path, environ) and self._probes.take(now)):
            return None
        if not self._shedding.may_shed():
            return None
        event = RequestShed(*method_and_path(environ), waited, allowed, depth, self._reports)
        if self._spell.shed(now):
            emit(SheddingBegan(allowed, depth, self._reports))
        emit(event)
        return event

    def _ask(self, now: float) -> int:
        asked, depth = self._depth
        if now - asked >= ASK_EVERY:
            depth = sockets.queue_depth(self._server.connections.listening()) or 0
            self._depth = now, depth
        return depth

    def _say_over(self, now: float) -> None:
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
