"""Requests whose client has hung up while they waited in the listen queue: skipped, not worked on."""

from __future__ import annotations

import select
import socket
from threading import get_ident
from typing import TYPE_CHECKING, Callable, Dict, Iterable, List, Optional, Tuple

from ..core.environ import method_and_path
from ..core.guard import Guard
from ..core.middleware import Gate
from ..events import ClientGone, emit
from ..servers import Server, detect
from ..settings.options import REPORT, Request
from .running import running

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# what nginx writes to its log for a client that has closed; nobody will see it but the log of the
# server
STATUS = "499 Client Closed Request"
# POLLIN alone is normal: a body that is not read yet. POLLNVAL says nothing of the client. Missing
# on macOS: POLLRDHUP
GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

_guard = Guard("request")


# a poll object for each descriptor, made once: descriptors are used again and again, and the object
# knows the number alone
_polls: Dict[int, Callable[[int], List[Tuple[int, int]]]] = {}


def hung_up(fd: int) -> bool:
    """Return whether the other end of a connection has closed it, over TCP also if only its writing
    half.

    Never blocks; about 0.5 µs.
    """
    poll = _polls.get(fd) or _poll_for(fd)
    try:
        ready = poll(0)
    except RuntimeError:  # another thread asks for the same connection just now
        return False
    return ready != [] and gone(fd, ready[0][1])


def gone(fd: int, ready: int) -> bool:
    """Return whether what `poll` says of a connection means that nobody waits for an answer.

    A UNIX socket whose peer has closed it is shut down in both directions, which is POLLHUP; with
    POLLRDHUP alone the peer has only ended its request (net/unix/af_unix.c, unix_poll). Over TCP
    that cannot be told apart, and both are POLLRDHUP.
    """
    if ready & (select.POLLHUP | select.POLLERR):
        return True
    return ready & GONE != 0 and not _is_unix(fd)


def _is_unix(fd: int) -> bool:
    try:
        sock = socket.socket(fileno=fd)
    except OSError:  # closed meanwhile
        return False
    family = sock.family
    sock.detach()
    return family == socket.AF_UNIX


def _poll_for(fd: int) -> Callable[[int], List[Tuple[int, int]]]:
    made = select.poll()
    made.register(fd, GONE)
    _polls[fd] = made.poll
    return made.poll


class ClientGoneMiddleware(Gate):
    """Answer 499 without calling the app if the client has hung up by the time the request is taken
    from the queue.

    With `CLIENT_GONE = auto` only where a closed half means that nobody waits (behind the uwsgi
    protocol, on UNIX sockets). Not seen: a client behind a proxy that does not close its own
    connection (`uwsgi_ignore_client_abort on`).
    """

    always = True

    def __init__(self, app: WSGIApplication, options: Request, server: Server) -> None:
        super().__init__(app)
        # names of methods looked up once: this is in the way of every request
        self._client_fd = server.connections.client_fd
        self._may_half_close = server.connections.client_may_half_close
        self._everywhere = options.client_gone is True
        self._report = options.mode == REPORT

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Optional[Iterable[bytes]]:
        """Answer a request whose client is gone."""
        try:
            left = False
            if self._everywhere or not self._may_half_close(environ):
                fd = self._client_fd(environ)
                if fd is not None:
                    # hung_up(), without the call
                    ready = (_polls.get(fd) or _poll_for(fd))(0)
                    left = ready != [] and gone(fd, ready[0][1])
        except Exception as error:
            _guard.report(error)
            left = False
        if not left:
            return None
        emit(ClientGone(*method_and_path(environ), dry_run=self._report))
        if self._report:
            return None
        start_response(STATUS, [("Content-Length", "0")])
        return []


def client_gone() -> bool:
    """Return whether the client of the request that this thread works on has hung up, for an app
    that can stop then.

    False where that cannot be known, and on raw HTTP over TCP, where a client may half-close and
    still wait. About 1 µs.
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
