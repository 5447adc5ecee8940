"""`wsgi.errors`: ours in the place of the server's, where that is standard error."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Iterable

from ..core.callers import calls_the_app
from ..core.guard import Guard
from .shared import shared

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_guard = Guard("stderr")
# of streams that have no descriptor; finding that out by the exception takes microseconds
_NONE = io.IOBase.fileno


class ErrorsMiddleware:
    """Puts a stream that cannot block into `environ["wsgi.errors"]`, if the server's own writes to
    standard error too.

    What a server or a test has put there that goes elsewhere stays. At the end of the app's call it
    writes what waits.
    """

    __slots__ = ("_app", "_stream", "_theirs", "elsewhere", "writer")

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._stream = shared(2)
        self.writer = self._stream.writer
        # the last one that was found to be standard error: uWSGI's is always the same
        self._theirs: Any = self._stream
        # the last type that was found to have no descriptor: gunicorn makes another one of it for
        # each request
        self.elsewhere: Any = None

    @calls_the_app
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.put(environ)
        answer = self._app(environ, start_response)
        if self.writer.busy:
            self.drain()
        return answer

    def put(self, environ: WSGIEnvironment) -> None:
        """Put our stream in its place."""
        theirs = environ.get("wsgi.errors")
        if theirs is self._theirs or (
            type(theirs) is not self.elsewhere and self._is_standard_error(theirs)
        ):
            environ["wsgi.errors"] = self._stream

    def drain(self) -> None:
        """Write what waits, as far as there is room, and see to it that there is some for uWSGI's
        line about the request.
        """
        with _guard:
            self.writer.make_room()

    def _is_standard_error(self, theirs: Any) -> bool:
        if getattr(type(theirs), "fileno", None) is _NONE:
            self.elsewhere = type(theirs)
            return False
        try:
            same = theirs is None or theirs.fileno() == self.writer.fd
        except Exception:  # no descriptor, or none that it tells
            return False
        if same:
            self._theirs = theirs
        return same
