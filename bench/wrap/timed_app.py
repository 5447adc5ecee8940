"""Another module's app, and how long a call of it takes inside the worker: `TIMED` names the
module, the path /took asks for it.
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from array import array
from typing import TYPE_CHECKING, Iterable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

app = importlib.import_module(os.environ["TIMED"]).application
took = array("q")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Pass the request on, and note the nanoseconds."""
    if environ["PATH_INFO"] == "/took":
        text = b"%d" % statistics.median(took)
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
        )
        return [text]
    begun = time.perf_counter_ns()
    body: Iterable[bytes] = app(environ, start_response)
    took.append(time.perf_counter_ns() - begun)
    return body
