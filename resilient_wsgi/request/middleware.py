"""Set the deadline of each request, in time to answer before harakiri kills the whole worker."""

from __future__ import annotations

import math
import sys
from threading import get_ident
from typing import TYPE_CHECKING, Iterable, Optional

from .. import deadline as carried, servers
from ..core.app_entries import calls_the_app
from ..core.guard import Guard
from ..core.system import SYSTEM
from ..errors import RequestTimedOut
from .body import with_deadline
from .budget import Granted
from .running import ReportedDeadline, RequestDeadline, running

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# looked up once, because every request passes here
_get, _set, _reset = carried.CURRENT.get, carried.CURRENT.set, carried.CURRENT.reset

_new = object.__new__

_guard = Guard("request")


class DeadlineMiddleware:
    """Set the deadline of each request, for the app's call, the iteration of the response and its
    `close()`, and show the request to the watchdog.

    `seconds` is the time that a request gets, infinity for no limit; `granted`, if given, is asked
    for each request instead. With `enforced=False` the watchdog sees the request, but no deadline
    is in force in it.
    """

    def __init__(
        self,
        app: WSGIApplication,
        seconds: float = math.inf,
        granted: Optional[Granted] = None,
        *,
        enforced: bool = True,
        watch_client: bool = False,
        soft: bool = False,
    ) -> None:
        self._app = _answering(app) if soft else app
        self._seconds = seconds
        self._granted = granted
        self._kind = RequestDeadline if enforced else ReportedDeadline
        self._watch_client = watch_client
        self._slots = running.slots
        # no name of the module: freezegun replaces those, and deadlines would follow its time
        self._now = SYSTEM.monotonic

    @calls_the_app
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        app, seconds = self._app, self._seconds
        try:
            if self._granted is not None:
                seconds = self._granted(environ)
            now = self._now()
            # RequestDeadline.__init__ inlined: the call would take as long as all of this
            request = _new(self._kind)
            request.start = now
            request.at = now + seconds
            request.limit = seconds
            request.environ = environ
            request.outer = _get()
            request.waits = {}
            request.finished = request.client_gone = request.timed_out = False
            request.client_fd = -1
            request._system = SYSTEM  # noqa: SLF001
            slot = self._slots.get(get_ident()) or running.add_thread()
            row = slot.row
            if row is not None:
                method, path = environ["REQUEST_METHOD"].encode(), environ["PATH_INFO"].encode()
                row.begin(now, request.at, method, path, now)
            if self._watch_client:
                request.client_fd = _client_fd(environ)
            slot.request = request  # last: if anything above fails, nothing is left behind
        except Exception as error:
            _guard.report(error)
            return app(environ, start_response)
        over = True
        before = _set(request)
        try:
            result = app(environ, start_response)
            if type(result) is list:
                return result
            body, over = with_deadline(result, environ, slot, request)
            return body  # type: ignore[no-any-return]
        finally:
            if over:
                request.finished = True
                slot.request = None
                row = slot.row  # the thread may have got it in the meantime
                if row is not None:
                    row.clear()
            _reset(before)


def _client_fd(environ: WSGIEnvironment) -> int:
    connections = servers.detect().connections
    may_half_close = connections.client_may_half_close(environ)
    fd = None if may_half_close else connections.client_fd(environ)
    return -1 if fd is None else fd


def _answering(app: WSGIApplication) -> WSGIApplication:
    """Return an app that answers 503 if the soft timeout is raised through it."""

    @calls_the_app
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except RequestTimedOut:
            text = b"The request took too long.\n"
            headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
            start_response("503 Service Unavailable", headers, sys.exc_info())
            return [text]

    return answer
