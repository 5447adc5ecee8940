"""An app with two readiness checks: one that does as a file says, one that is ready some time after
the load (a cache to warm).
"""

# mypy: ignore-errors

import os
import threading
import time
from pathlib import Path

import uwsgi

import resilient_wsgi
from resilient_wsgi import readiness

WARM_AT = time.monotonic() + float(os.environ.get("WARM_SECONDS", "0"))

if os.environ.get("OFF_AND_FAIL") and Path(os.environ["OFF_AND_FAIL"]).exists():
    Path(os.environ["OFF_AND_FAIL"]).unlink()
    readiness.uninstall()
    raise RuntimeError("no app, and nobody here to see it")


def as_told():
    word = Path(os.environ["TOLD"]).read_text().strip() if "TOLD" in os.environ else ""
    if word == "raise":
        raise OSError("the disk is gone")
    if word == "hang":
        threading.Event().wait(60)
    return {"": True, "no": False, "reason": "the cache is cold", "nonsense": 42}.get(word)


@readiness.check(timeout=5, interval=1)
def warm():
    return time.monotonic() >= WARM_AT


readiness.check(name="as told", timeout=0.5, interval=0.2)(as_told)


def answer(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(float(os.environ.get("WORK", "0.5")))
    if environ["PATH_INFO"] == "/busy":
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass
    cold = time.monotonic() < WARM_AT
    start_response(
        "503 Cold" if cold else "200 OK",
        [("X-Worker", str(uwsgi.worker_id())), ("X-Pid", str(os.getpid()))],
    )
    return [b"cold" if cold else b"warm"]


application = resilient_wsgi.wrap(answer)
