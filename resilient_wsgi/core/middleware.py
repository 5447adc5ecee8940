"""Middleware that answers some requests itself and passes the others on."""

from __future__ import annotations

from typing import TYPE_CHECKING, FrozenSet, Iterable, Optional

from .app_entries import calls_the_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Gate:
    """The base of what looks at a request before the app does: a subclass says in `answer` what it
    answers itself.

    `wrap()` asks it only where it may have something to do: for each request where `always` is
    true, for those to one of `paths`, and for those in which a router says when it got them.
    """

    always = False
    paths: FrozenSet[str] = frozenset()

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Optional[Iterable[bytes]]:
        """Answer a request, or return None for the app to do so. `wrap()` asks this alone."""
        raise NotImplementedError

    @calls_the_app
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self.answer(environ, start_response)
        return self._app(environ, start_response) if answer is None else answer
