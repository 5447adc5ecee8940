"""An app that works by waiting, so that two cores can carry it and its clients; each run adds a
byte to a file, so that work for nobody can be counted.

`BENCH_WORK`: constant, exponential, two (10 ms, and a tenth of them 1 s), or seconds.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, List

import resilient_wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WORK = os.environ.get("BENCH_WORK", "constant")
WAITS = os.environ.get("BENCH_WAITS", "")
RUNS = os.environ.get("BENCH_RUNS", os.devnull)


def seconds() -> float:
    """Return how long a request takes."""
    if WORK == "exponential":
        return random.expovariate(10)
    if WORK == "two":
        return 1.0 if random.random() < 0.1 else 0.01
    return 0.1 if WORK == "constant" else float(WORK)


def unprotected(environ: WSGIEnvironment, start_response: StartResponse) -> List[bytes]:
    """Answer after a while."""
    path = environ["PATH_INFO"]
    if WAITS:
        told = time.time() - float(environ["HTTP_X_REQUEST_START"])
        with open(WAITS, "ab", buffering=0) as waits:
            waits.write(b"%f %f\n" % (told, environ.get("resilient_wsgi.waited", 0.0)))
    time.sleep(float(path[7:]) if path.startswith("/sleep/") else seconds())
    with open(RUNS, "ab", buffering=0) as runs:
        runs.write(b"x")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


resilient_wsgi.install()
protected = resilient_wsgi.wrap(unprotected)
