"""The app of the benchmark: views that call an upstream, and views that do not.

/calls/NAME/COUNT makes so many, /call/NAME[/METHOD[/TIMEOUT]] calls the upstream of that name, /other[/SECONDS] works for 30 ms, or
for so long. POOL_PROTECTED=1 puts the
library around it, with its defaults.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Callable, Iterable, List

import requests

UPSTREAMS = dict(part.split("=", 1) for part in os.environ.get("POOL_UPSTREAMS", "").split())
PROTECTED = os.environ.get("POOL_PROTECTED") == "1"
_LINES = {200: "200 OK", 503: "503 Service Unavailable"}


def pool(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve one request."""
    _, view, *rest = environ["PATH_INFO"].split("/")
    body = b"ok"
    status = 200
    if view == "call":
        status, body = _call(*rest)
    elif view == "calls":
        status, body = _calls(rest[0], int(rest[1]))
    elif view == "other":
        time.sleep(float(rest[0]) if rest else 0.03)
    start_response(_LINES[status], [("Content-Length", str(len(body)))])
    return [body]


def _call(name: str, method: str = "GET", timeout: str = "") -> Any:
    own = {"timeout": float(timeout)} if timeout else {}
    try:
        requests.request(method, UPSTREAMS[name], **own).content  # noqa: B018
    except requests.RequestException as error:
        return 503, f"{type(error).__name__}: {error}".encode()
    return 200, b"ok"


_sessions = threading.local()


def _calls(name: str, count: int) -> Any:
    if not hasattr(_sessions, "session"):
        _sessions.session = requests.Session()
        _sessions.session.trust_env = False
    try:
        for _ in range(count):
            _sessions.session.get(UPSTREAMS[name]).content  # noqa: B018
    except requests.RequestException as error:
        return 503, f"{type(error).__name__}: {error}".encode()
    return 200, b"ok"


application: Any = pool
if PROTECTED:
    import resilient_wsgi

    resilient_wsgi.install()
    application = resilient_wsgi.wrap(pool)

__all__: List[str] = ["application"]
