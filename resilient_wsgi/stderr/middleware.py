"""Replace `wsgi.errors` by a stream that cannot block, if the server's is standard error."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Iterable

from ..core.app_entries import calls_the_app
from ..core.guard import Guard
from ..servers import detect

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_guard = Guard("stderr")
# of streams without a descriptor; finding that out by the exception takes microseconds
_NO_FILENO = io.IOBase.fileno
FD = 2


class _NothingWaits:
    """The writer until there is a stream."""

    busy = False


class ErrorsMiddleware:
    """Puts a stream that cannot block into `environ["wsgi.errors"]`.

    Only if the server's own writes to standard error: a stream of a server or a test that goes
    elsewhere stays. When the app's call ends it writes what is buffered.
    """

    __slots__ = ("_app", "_stream", "_theirs", "elsewhere", "writer")

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._stream: Any = None
        self.writer: Any = _NothingWaits
        # the last stream that was found to be standard error: uWSGI's is always the same
        self._theirs: Any = _NothingWaits
        # the last type that was found to have no descriptor: gunicorn makes one stream of it for
        # each request
        self.elsewhere: Any = None
        # where no server is known requests may never come, or their errors go elsewhere
        if detect().name != "plain":
            self._open()

    @calls_the_app
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.put(environ)
        answer = self._app(environ, start_response)
        if self.writer.busy:
            self.drain()
        return answer

    def put(self, environ: WSGIEnvironment) -> None:
        """Replace `wsgi.errors` if it is standard error."""
        theirs = environ.get("wsgi.errors")
        if theirs is self._theirs or (
            type(theirs) is not self.elsewhere and self._is_standard_error(theirs)
        ):
            environ["wsgi.errors"] = self._stream

    def drain(self) -> None:
        """Write what is buffered, and leave room for uWSGI's own line about the request."""
        with _guard:
            self.writer.make_room()

    def _is_standard_error(self, theirs: Any) -> bool:
        if getattr(type(theirs), "fileno", None) is _NO_FILENO:
            self.elsewhere = type(theirs)
            return False
        try:
            same = theirs is None or theirs.fileno() == FD
        except Exception:  # it has no descriptor, or does not tell it
            return False
        if same and self._stream is None:
            with _guard:
                self._open()
        if same and self._stream is not None:
            self._theirs = theirs
        return self._theirs is theirs

    def _open(self) -> None:
        from .standard_streams import shared

        self._stream = shared(FD)
        self.writer = self._stream.writer
