"""Requests that have waited too long in the listen queue are answered 503, so that those behind
them are in time.

How long one has waited follows from the queue itself (`arrivals`), or from a header of the router.
How long it may is learned from clients that hang up (`tolerance`), or set. Whenever in doubt, the
request passes.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Callable, Iterable, List, Optional, Tuple

from ..core.environ import PICKED_UP, WAITED, matcher, method_and_path, path_of
from ..core.guard import Guard
from ..core.middleware import Gate
from ..core.system import SYSTEM, System
from ..host.connections import hung_up
from ..servers import Server
from ..settings.options import OFF, REPORT, Overload
from .shedding import ProbeAllowance, Shedding, Spell, looks_like_a_probe
from .state import DEPTH, TOLERATED, State

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from ..events import RequestShed
    from .queue import Queue

OWN_PROBES = ("/-/live", "/-/ready")
BODY = b"Too busy. Try again later.\n"
# seconds between two questions to the kernel about the queue's length
ASK_EVERY = 0.02
# after a request that waited less than this share of what is allowed, headers are not read for so
# long
CALM_SHARE = 0.1
CALM_SECONDS = 0.005
# Of the requests that found no queue one in 16, a power of two, is followed as those that waited
# are: to know how many clients hang up whatever happens
ONE_IN = 16
# so that refused clients do not all come back in step
RETRY_JITTER = 3

_guard = Guard("overload")


class Shared:
    """What the processes of the instance share: `queue`, None where and while this process has no
    part in it; `state` is then its own.
    """

    __slots__ = ("queue", "state")

    def __init__(self) -> None:
        self.queue: Optional[Queue] = None
        self.state = State.alone()

    def join(self, queue: Queue) -> None:
        """Have a part in it."""
        self.queue, self.state = queue, queue.state


class PickedUp:
    """A request whose client is looked at again when the answer is ready."""

    __slots__ = ("_begun", "_fd", "_now", "_queue", "_waited")

    def __init__(self, queue: Queue, waited: float, fd: int, begun: float, system: System) -> None:
        self._queue = queue
        self._waited = waited
        self._fd = fd
        self._begun = begun
        self._now = system.monotonic

    def answered(self) -> None:
        """Note that the app has answered."""
        try:
            took = max(0.0, self._now() - self._begun)
            self._queue.tolerance.answered(self._waited, took, vain=hung_up(self._fd))
        except Exception as error:
            _guard.report(error)


class QueueMiddleware(Gate):
    """Answer 503 with `Retry-After` if a request has waited longer than clients do, while others
    wait, too.

    The wait is put into `environ["resilient_wsgi.waited"]`, where it is not next to nothing. With a
    header it is read unless the request before, less than 5 ms ago, had hardly waited; with
    `measures` always. A request passes if its wait is not known, no other client waits, or
    `MAX_SHED_SHARE` is reached.
    """

    def __init__(
        self,
        app: WSGIApplication,
        options: Overload,
        server: Server,
        system: System = SYSTEM,
        *,
        measures: bool = False,
        shared: Optional[Shared] = None,
        half_closed_is_gone: bool = False,
    ) -> None:
        super().__init__(app)
        self._shared = Shared() if shared is None else shared
        self.always = shared is not None
        header = options.queue_time_header
        self._header = header and "HTTP_" + header.upper().replace("-", "_")
        self._server = server
        self._system = system
        self._now = system.monotonic
        self._wall_time = system.wall_time
        self._reports = options.mode == REPORT
        self._off = options.mode == OFF
        self._half_closed_is_gone = half_closed_is_gone
        self._never = matcher([*options.critical, *OWN_PROBES])
        self._probes = ProbeAllowance(server.configuration.workers())
        self._first = matcher(options.sheddable)
        self._header_time = _header_time() if header else None
        self._shedding = Shedding(options)
        self._surely_passes = math.inf if self._off else self._shedding.surely_passes
        # the queue is first come, first served: a request just after one that has hardly waited has
        # hardly waited either
        self._calm = -math.inf if measures else CALM_SHARE * self._surely_passes
        self._read_again = -math.inf
        self._spell = Spell()
        self._depth: Tuple[float, int] = (-math.inf, 0)
        self._jitter = itertools.cycle(range(RETRY_JITTER))

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Optional[Iterable[bytes]]:
        """Answer a request that has waited too long."""
        shed = None
        try:
            queue = self._shared.queue
            header = self._header
            if queue is not None:
                now = self._now()
                state = queue.state
                # counted for itself, in every request
                state.cells[state.place] = number = next(state.counts)
                if now < queue.calm_until and header is None and number % ONE_IN:
                    return None
                shed = self._look(environ, queue, number, now)
            elif header is not None and header in environ:
                shed = self._look_at_header(environ, self._now())
            if shed is not None and not self._reports:
                self._server.connections.close_promptly(environ)
        except Exception as error:
            _guard.report(error)
        return None if shed is None or self._reports else self._refuse(shed, start_response)

    def _look(
        self, environ: WSGIEnvironment, queue: Queue, number: int, now: float
    ) -> Optional[RequestShed]:
        waited = queue.waited(now)
        by_header = self._by_header(environ, now)
        if by_header is not None:
            waited = by_header
        if waited is not None and (waited > 0 or not number % ONE_IN):
            environ[WAITED] = waited
            if self._follow(environ, queue, waited, now):
                return None
        return self._judge(environ, waited or 0.0, now)

    def _look_at_header(self, environ: WSGIEnvironment, now: float) -> Optional[RequestShed]:
        waited = self._by_header(environ, now)
        return None if waited is None else self._judge(environ, waited, now)

    def _by_header(self, environ: WSGIEnvironment, now: float) -> Optional[float]:
        """Return how long a request has waited if its router says so."""
        header = environ.get(self._header) if self._header else None
        if not header or now < self._read_again or self._header_time is None:
            return None
        waited = self._header_time(header, self._wall_time(), now)
        if waited is not None:
            environ[WAITED] = waited
            if waited <= self._calm:
                self._read_again = now + CALM_SECONDS
        return waited

    def _follow(self, environ: WSGIEnvironment, queue: Queue, waited: float, now: float) -> bool:
        """Note whether the client still waits, now and when the answer is ready; return whether it
        is gone. Nothing is noted where that cannot be seen.
        """
        connections = self._server.connections
        if not self._half_closed_is_gone and connections.client_may_half_close(environ):
            return False
        fd = connections.client_fd(environ)
        if fd is None:
            return False
        dead = hung_up(fd)
        queue.tolerance.picked(waited, dead=dead)
        environ[PICKED_UP] = PickedUp(queue, waited, fd, now, self._system)
        return dead

    def _judge(self, environ: WSGIEnvironment, waited: float, now: float) -> Optional[RequestShed]:
        """Return the event of a request that is shed, None for one that passes."""
        shared = self._shared
        learned = math.inf if self._off or shared.queue is None else shared.queue.limit
        state = shared.state
        watchful = self._spell.goes_on(state)
        if waited <= self._surely_passes and learned == math.inf and not watchful:
            return None
        path = path_of(environ)
        sheddable = bool(self._first(path))
        allowed = self._shedding.allowed(waited, now, learned, sheddable=sheddable)
        event = None if waited <= allowed else self._late(environ, path, waited, allowed, now)
        if event is None:
            self._shedding.passed()
            if watchful:
                self._note_end(state, now)
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
        if not self._reports:
            environ.pop(PICKED_UP, None)  # it is not served
        from ..events import OverloadBegan, RequestShed, emit

        event = RequestShed(*method_and_path(environ), waited, allowed, depth, self._reports)
        state = self._shared.state
        if self._spell.shed(state, now):
            emit(OverloadBegan(allowed, depth, self._reports, state.cells[TOLERATED] or None))
        emit(event)
        return event

    def _queue_depth(self, now: float) -> int:
        queue = self._shared.queue
        if queue is not None:
            return int(queue.state.cells[DEPTH])
        asked, depth = self._depth
        if now - asked >= ASK_EVERY:
            from ..host import sockets

            depth = sockets.queue_depth(self._server.connections.listening()) or 0
            self._depth = now, depth
        return depth

    def _note_end(self, state: State, now: float) -> None:
        ended = self._spell.over(state, now)
        if ended is not None:
            from ..events import OverloadEnded, emit

            emit(OverloadEnded(*ended, self._reports, state.cells[TOLERATED] or None))

    def _refuse(self, event: RequestShed, start_response: StartResponse) -> List[bytes]:
        retry = max(1, math.ceil(event.waited)) + next(self._jitter)
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(BODY))),
            ("Retry-After", str(retry)),
            ("Cache-Control", "no-store"),
        ]
        start_response("503 Service Unavailable", headers)
        return [BODY]


def _header_time() -> Callable[[str, float, float], Optional[float]]:
    """Return what tells how long a request has waited from the router's header."""
    from .router_time import Calibration, parse  # where no header is set, nothing reads one

    calibration = Calibration()

    def waited(header: str, wall: float, now: float) -> Optional[float]:
        stamp = parse(header)
        return None if stamp is None else calibration.waited(stamp, wall, now)

    return waited
