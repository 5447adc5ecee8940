"""The app of the overload: it works for a fixed time by waiting, so that two cores can carry it and its clients."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, List

import resilient_wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SECONDS = float(os.environ.get("BENCH_WORK_SECONDS", "0.05"))


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> List[bytes]:
    """Answer after a while."""
    del environ
    time.sleep(SECONDS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


resilient_wsgi.install()
guarded = resilient_wsgi.wrap(plain)
