"""Clients that hang up: while their request waits in the listen queue it is skipped; while it runs,
its waits may be ended.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Callable, Iterable, Optional

from ..core.environ import method_and_path
from ..core.guard import Guard
from ..core.middleware import Gate
from ..host.connections import gone, hung_up, poll_for, polls
from ..servers import Server, detect
from ..settings.options import REPORT, Request
from .running import RequestDeadline, running

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from ..events import Event

# what nginx logs for a client that has closed; only the server's log will show it
STATUS = "499 Client Closed Request"
# requests that may be ended halfway: the effects of all others must be completed
SAFE_METHODS = ("GET", "HEAD")

_guard = Guard("request")


class ClientGoneMiddleware(Gate):
    """Answer 499 without calling the app if the client has hung up by the time its request is taken
    from the listen queue.

    With `CLIENT_GONE = "auto"` only where a closed half means that the client does not wait any
    more: behind the uwsgi protocol, and on UNIX sockets. A client behind a proxy that keeps its own
    connection open (`uwsgi_ignore_client_abort on`) is not noticed.
    """

    always = True

    def __init__(self, app: WSGIApplication, options: Request, server: Server) -> None:
        super().__init__(app)
        # methods looked up once: every request passes here
        self._client_fd = server.connections.client_fd
        self._may_half_close = server.connections.client_may_half_close
        self._everywhere = options.client_gone is True
        self._report = options.mode == REPORT

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Optional[Iterable[bytes]]:
        """Answer a request whose client is gone."""
        try:
            has_left = False
            if self._everywhere or not self._may_half_close(environ):
                fd = self._client_fd(environ)
                if fd is not None:
                    # hung_up(), without the call
                    ready = (polls.get(fd) or poll_for(fd))(0)
                    has_left = ready != [] and gone(fd, ready[0][1])
        except Exception as error:
            _guard.report(error)
            has_left = False
        if not has_left:
            return None
        from ..events import ClientGone, emit

        emit(ClientGone(*method_and_path(environ), dry_run=self._report))
        if self._report:
            return None
        start_response(STATUS, [("Content-Length", "0")])
        return []


def client_gone() -> bool:
    """Return whether the client of this thread's request has hung up, so that an app may stop.

    False where that cannot be known, and on raw HTTP over TCP, where a client may half-close and
    still wait. Takes about 1 µs.
    """
    slot = running.slots.get(get_ident())
    request = None if slot is None else slot.request
    if request is None:
        return False
    connections = detect().connections
    with _guard:
        if request.client_gone:
            return True
        may_half_close = connections.client_may_half_close(request.environ)
        fd = None if may_half_close else connections.client_fd(request.environ)
        return fd is not None and hung_up(fd)
    return False


def check(
    request: RequestDeadline, now: float, report: bool, announce: Callable[[Event], object]
) -> None:
    """Find out whether the client of a running request is gone. If so, emit `ClientLeft` once and,
    unless this only `report`s, end the waits of the request.

    Its deadline becomes now, so that whatever asks for the time left ends, too. If the request has
    just ended, the descriptor may be another connection's by now: then nothing waits any more that
    could be ended, and the worst outcome is one event too many.
    """
    if request.client_gone or not hung_up(request.client_fd):
        return
    request.client_gone = True
    method, path = method_and_path(request.environ)
    ended = 0
    if not report and method in SAFE_METHODS:
        request.at = now
        ended = sum(wait.interrupt() for wait in list(request.waits))
    from ..events import ClientLeft

    announce(ClientLeft(method, path, now - request.start, ended))
