"""What the library reads of a WSGI environ: method, path, and the headers of the router."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Callable, Sequence, Tuple

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# the headers in which a router says when it got a request
REQUEST_START, QUEUE_START = "HTTP_X_REQUEST_START", "HTTP_X_QUEUE_START"
PICKED_UP = "resilient_wsgi.picked_up"
"""Where QueueMiddleware puts what is to be called when the app has answered."""
WAITED = "resilient_wsgi.waited"
"""Where QueueMiddleware puts the seconds that a request has waited in the queue."""

Matcher = Callable[[str], object]


def method_and_path(environ: WSGIEnvironment) -> Tuple[str, str]:
    """Return method and path of a request, for messages: no query, which may hold secrets."""
    return environ.get("REQUEST_METHOD", "?"), path_of(environ)


def path_of(environ: WSGIEnvironment) -> str:
    """Return the path of a request: where the app is mounted, and what follows."""
    mounted: str = environ.get("SCRIPT_NAME", "")
    path: str = environ.get("PATH_INFO", "")
    return mounted + path


def matcher(patterns: Sequence[str]) -> Matcher:
    """Return a function that returns whether a path matches one of the patterns."""
    if not patterns:
        return lambda _: False
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match
