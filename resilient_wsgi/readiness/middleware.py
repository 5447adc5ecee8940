"""`ReadinessMiddleware`: answers `/-/live` and `/-/ready` without calling the app."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Iterable, Mapping, Optional

from ..core.guard import Guard
from ..core.middleware import Gate
from ..settings.options import Readiness
from .checks import status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LIVE, READY = "/-/live", "/-/ready"
TOKEN_HEADER = "HTTP_X_READINESS_TOKEN"  # noqa: S105 - the name of a header
_guard = Guard("readiness")


class ReadinessMiddleware(Gate):
    """Answer GET and HEAD for two paths, pass everything else to the app.

    `/-/live` is 200 whenever this worker answers at all. `/-/ready` is 200 or 503, from answers
    that are already there: no check runs in the request. The body is a small JSON object, with
    details only for requests with the header `X-Readiness-Token`, if READINESS.TOKEN is set. The
    client's address is no criterion: behind a proxy on the same host all requests come from there,
    and the texts of checks contain hosts, users and DSNs. Such requests wait in the listen queue
    like any other; a probe that must not wait is `resilient-wsgi ready`.

    `paths` are the two; None switches one off.
    """

    def __init__(
        self,
        app: WSGIApplication,
        paths: Iterable[Optional[str]] = (LIVE, READY),
        options: Optional[Readiness] = None,
    ) -> None:
        super().__init__(app)
        self._live, ready = paths
        self.paths = frozenset(path for path in (self._live, ready) if path is not None)
        self._token = (options or Readiness()).token

    def answer(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Optional[Iterable[bytes]]:
        """Answer a request for one of the paths."""
        path = environ.get("PATH_INFO")
        if path not in self.paths:
            return None
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(
                environ, start_response, "405 Method Not Allowed", {"status": "use GET or HEAD"}
            )
        if path == self._live:
            return _answer(environ, start_response, "200 OK", {"status": "live"})
        return self._readiness(environ, start_response)

    def _readiness(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        report, degraded = [("readiness", "unknown")], ""
        with _guard:
            report, degraded = status.report(), status.degraded()
        ready = not any(problem for _, problem in report)
        body: dict[str, object] = {
            "status": ("degraded" if degraded else "ready") if ready else "not ready"
        }
        if self._may_see_details(environ):
            body["checks"] = {name: problem or "ok" for name, problem in report}
            if degraded:
                body["degraded"] = degraded
        return _answer(
            environ, start_response, "200 OK" if ready else "503 Service Unavailable", body
        )

    def _may_see_details(self, environ: WSGIEnvironment) -> bool:
        if not self._token:
            return False
        import hmac

        given = environ.get(TOKEN_HEADER, "")
        return hmac.compare_digest(given.encode("latin-1", "replace"), self._token.encode())


def _answer(
    environ: WSGIEnvironment, start_response: StartResponse, line: str, body: Mapping[str, object]
) -> Iterable[bytes]:
    text = json.dumps(body).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(text))),
        ("Cache-Control", "no-store"),
    ]
    if line.startswith("405"):
        headers.append(("Allow", "GET, HEAD"))
    start_response(line, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]
