"""The apps of the benchmarks of requests.

That of the overload works by waiting, so that two cores can carry it and its clients.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, List

import resilient_wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SECONDS = float(os.environ.get("BENCH_WORK_SECONDS", "0.05"))


def unprotected(environ: WSGIEnvironment, start_response: StartResponse) -> List[bytes]:
    """Answer after a while."""
    del environ
    time.sleep(SECONDS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def reading(environ: WSGIEnvironment, start_response: StartResponse) -> List[bytes]:
    """Answer after the body was read: what is left of it unread, a server on raw HTTP may take for
    the next request.
    """
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


resilient_wsgi.install()
protected = resilient_wsgi.wrap(unprotected)
protected_reading = resilient_wsgi.wrap(reading)
