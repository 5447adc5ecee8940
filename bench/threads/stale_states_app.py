"""The app of bench.threads.stale_states: threads at import, requests that use stacks again where
theirs were, and whatever looks at frames.
"""

from __future__ import annotations

import atexit
import gc
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, Callable, Dict, List

KINDS = os.environ.get("STALE_KIND", "").split()
LATE = os.environ.get("STALE_LATE")  # the library comes after the threads, in the worker
_kept: List[Any] = []


def deep(depth: int, then: Callable[[], Any]) -> Any:
    return then() if depth == 0 else deep(depth - 1, then)


def forever() -> None:
    while True:
        time.sleep(0.03)


class Loud:
    """What a thread keeps for itself, with a destructor."""

    def __del__(self) -> None:
        _kept.append(len(_kept))


def start_thread() -> None:
    local = threading.local()

    def run() -> None:
        local.value = Loud()
        forever()

    threading.Thread(target=run, name="metrics", daemon=True).start()
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def start_executor() -> None:
    pool = ThreadPoolExecutor(4)
    _kept.append(pool)
    for each in [pool.submit(time.sleep, 0.05) for _ in range(4)]:
        each.result()


def start_timer() -> None:
    timer = threading.Timer(600, print)
    timer.daemon = True
    timer.start()


def start_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    for _ in range(2):
        threading.Thread(target=lock.acquire, daemon=True).start()


def start_deep() -> None:
    threading.Thread(target=deep, args=(60, forever), daemon=True).start()


def start_all() -> None:
    for kind in KINDS:
        globals()[f"start_{kind}"]()
    time.sleep(0.1)


start_all()

import uwsgi  # noqa: E402 - the threads come first, as they do in an app

import resilient_wsgi  # noqa: E402
from resilient_wsgi import servers  # noqa: E402
from resilient_wsgi.core import frames  # noqa: E402

if os.environ.get("STALE_UNREPAIRED"):
    frames.state.forked = frames.state.not_forked  # type: ignore[method-assign]


def mark(word: str) -> None:
    fd = os.open(os.environ["STALE_MARKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{word} {os.getpid()}\n".encode())
    os.close(fd)


if os.environ.get("STALE_HANG"):
    atexit.register(deep, 10, forever)
atexit.register(mark, "atexit")


_look = frames.frames


def counted() -> Dict[int, FrameType]:
    mark("look")
    return _look()


frames.frames = counted


def walk(times: int = 30) -> int:
    seen = 0
    for _ in range(times):
        for frame in _look().values():
            at: Any = frame
            while at is not None:
                seen, at = seen + 1, at.f_back
    return seen


def churn() -> None:
    """Use the memory in which stacks of the dead lay, from threads, recursion and the collector."""
    threads = [
        threading.Thread(target=deep, args=(20 * n, lambda: time.sleep(0.02))) for n in range(5)
    ]
    for thread in threads:
        thread.start()
    walk()
    deep(150, gc.collect)
    for thread in threads:
        thread.join()


def churn_often() -> None:
    for _ in range(20):
        churn()


def in_mules_and_spoolers() -> None:
    if not uwsgi.worker_id():
        threading.Thread(target=churn_often, daemon=True).start()


servers.detect().hooks.child.add(in_mules_and_spoolers)


def app(environ: Any, start_response: Any) -> Any:
    path = environ["PATH_INFO"].rpartition("/")[2]
    if path == "churn":
        churn()
    elif path == "slow":
        deep(30, lambda: time.sleep(0.5))
    elif path == "gil":
        re.match(r"(a+)+$", "a" * 40 + "b")
    elif path == "leave":
        time.sleep(0.05)
        if "left" not in {thread.name for thread in threading.enumerate()}:
            threading.Thread(target=deep, args=(30, forever), name="left", daemon=False).start()
    start_response("200 OK", [])
    return [f"{os.getpid()} {frames.why_not()}".encode()]


resilient_wsgi.install()
application = resilient_wsgi.wrap(app)
if LATE:
    sys.stderr.write(f"late: {frames.why_not() or 'may be looked at'}\n")
