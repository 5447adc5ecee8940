"""An app that answers, or holds the GIL without using a CPU: as C code does that waits."""

from __future__ import annotations

import ctypes
import time
from typing import Any, Iterable

import resilient_wsgi


def answer(environ: Any, start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/hold-the-gil":
        end = time.monotonic() + 60
        while time.monotonic() < end:  # a signal ends the sleep
            ctypes.PyDLL(None).sleep(10)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


resilient_wsgi.install()
application = resilient_wsgi.wrap(answer)
