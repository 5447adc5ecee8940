"""Requests whose client has hung up while they waited in the listen queue: skipped, not worked on."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Iterable

from ..events import ClientGone, emit
from ..guard import Guard
from ..servers import Server
from ..settings import ON, REPORT, Request
from .deadline import named

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# what nginx writes to its log for a client that has closed; nobody will see it but the log of the server
STATUS = "499 Client Closed Request"
# POLLIN alone is normal: a body that is not read yet. POLLNVAL says nothing of the client. Missing on macOS: POLLRDHUP
GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

_guard = Guard("request")


def hung_up(fd: int) -> bool:
    """Return whether the other end of a connection has closed it, or its writing half. Never blocks; about 1 µs."""
    poll = select.poll()
    poll.register(fd, GONE)
    ready = poll.poll(0)
    return bool(ready and ready[0][1] & GONE)


class ClientGoneMiddleware:
    """Answer 499 without calling the app if the client has hung up by the time the request is taken from the queue.

    With `CLIENT_GONE = auto` only where a closed half means that nobody waits (behind the uwsgi protocol, on UNIX
    sockets). Not seen: a client behind a proxy that does not close its own connection (`uwsgi_ignore_client_abort on`).
    """

    def __init__(self, app: WSGIApplication, options: Request, server: Server) -> None:
        self._app = app
        self._server = server
        self._everywhere = options.client_gone == ON
        self._report = options.mode == REPORT

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            gone = (self._everywhere or not self._server.client_may_half_close(environ)) and self._is_gone(environ)
        except Exception as error:
            _guard.report(error)
            gone = False
        if not gone:
            return self._app(environ, start_response)
        emit(ClientGone(*named(environ)))
        if self._report:
            return self._app(environ, start_response)
        start_response(STATUS, [("Content-Length", "0")])
        return []

    def _is_gone(self, environ: WSGIEnvironment) -> bool:
        fd = self._server.client_fd(environ)
        return fd is not None and hung_up(fd)
