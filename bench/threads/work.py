"""What becomes of the work that requests leave running when their worker ends: without the library
beside with it.

python -m bench threads.work                 about 5 minutes
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Union

from bench.report import machine
from bench.threads.exits import gone
from lab.processes import Gunicorn, Server, wait_until

PATIENCE = 20.0
MERCY = 12
APP = """
import concurrent.futures, os, threading, time
HERE = os.environ["WORK_FOLDER"]

def deliver(seconds, number=0):
    time.sleep(seconds)
    open(os.path.join(HERE, f"done-{number}"), "w").close()

pool = concurrent.futures.ThreadPoolExecutor(1)
KINDS = {
    "thread": lambda: threading.Thread(target=deliver, args=(3,)).start(),
    "jobs": lambda: [pool.submit(deliver, 1, number) for number in range(5)],
    "timer": lambda: threading.Timer(2, deliver, (0,)).start(),
    "forever": lambda: threading.Thread(target=deliver, args=(600,)).start(),
}

def application(environ, start_response):
    KINDS.get(environ["PATH_INFO"][1:], int)()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
INSTALL = "\nimport resilient_wsgi\nresilient_wsgi.install()\n"
STARTED = {"thread": 1, "jobs": 5, "timer": 1, "forever": 1}
Instance = Union[Server, Gunicorn]
Maker = Callable[[Path, bool, str], Instance]


def uwsgi(*, lazy: bool) -> Maker:
    """Return what makes a uWSGI instance."""

    def make(folder: Path, protected: bool, way: str) -> Instance:
        options: Dict[str, Union[bool, int, str]] = {
            "master": True, "processes": 1, "enable-threads": True, "worker-reload-mercy": MERCY,
            "die-on-term": True,
            "wsgi-file": str(folder / "app.py"),
        }  # fmt: skip
        if lazy:
            options["lazy-apps"] = True
        if protected:
            options["shared-import"] = "resilient_wsgi.uwsgi"
        if way == "max-requests":
            options.update({"max-requests": 2, "min-worker-lifetime": 0})
        return Server(options, env=_environment(folder))

    return make


def gunicorn(kind: str) -> Maker:
    """Return what makes a gunicorn instance."""

    def make(folder: Path, protected: bool, way: str) -> Instance:
        if protected:
            (folder / "app.py").write_text(INSTALL + APP)
        more = ["--max-requests=2"] if way == "max-requests" else []
        arguments = [f"--worker-class={kind}", "--threads=2", f"--graceful-timeout={MERCY}", *more]
        return Gunicorn("app:application", arguments, env=_environment(folder))

    return make


SERVERS: Dict[str, Maker] = {
    "uWSGI, prefork": uwsgi(lazy=False),
    "uWSGI, lazy-apps": uwsgi(lazy=True),
    "gunicorn, sync": gunicorn("sync"),
    "gunicorn, gthread": gunicorn("gthread"),
}
WAYS = ("reload", "stop", "max-requests")


@dataclass
class Outcome:
    """What was done of what was started, how long the worker took, and whether it had to be killed."""

    done: int
    started: int
    seconds: float
    killed: bool

    def __str__(self) -> str:
        """As it stands in the table."""
        took = f"> {PATIENCE:.0f}" if self.seconds > PATIENCE else f"{self.seconds:.1f}"
        return f"{self.done} of {self.started}, {took} s{', killed' if self.killed else ''}"


def run(make: Maker, kind: str, way: str, protected: bool) -> Outcome:
    """Have a request start work, end its worker, and see what becomes of both."""
    with tempfile.TemporaryDirectory(prefix="work-") as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP)
        with make(folder, protected, way) as server:
            wait_until(lambda: _get(server, "/"), 15)
            worker = server.workers()[0]
            begun = time.monotonic()
            _get(server, f"/{kind}")
            if way != "max-requests":
                time.sleep(0.3)  # a forced stop in the middle of a request runs nothing
                server.signal(signal.SIGHUP if way == "reload" else signal.SIGTERM)
            ended = wait_until(lambda: gone(worker), PATIENCE)
            seconds = time.monotonic() - begun if ended else PATIENCE + 1
            log = server.log()
        killed = "NO MERCY" in log or "SIGKILL" in log or "WORKER TIMEOUT" in log
        return Outcome(len(list(folder.glob("done-*"))), STARTED[kind], seconds, killed)


def _get(server: Instance, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return bool(answer.read() == b"ok")
    except OSError:
        return False


def _environment(folder: Path) -> Dict[str, str]:
    return {"WORK_FOLDER": str(folder), "PYTHONPATH": os.pathsep.join((str(folder), os.getcwd()))}


def main() -> int:
    """Print the table; the code is 1 if work was lost that could have been done, or a worker had to
    be killed.
    """
    print(f"{machine()}; mercy {MERCY} s\n")
    print("| server | way | work | without | with |\n|---|---|---|---|---|")
    wrong: List[str] = []
    for (name, make), way, kind in itertools.product(SERVERS.items(), WAYS, STARTED):
        unprotected, protected = (
            run(make, kind, way, is_protected) for is_protected in (False, True)
        )
        print(f"| {name} | {way} | {kind} | {unprotected} | {protected} |", flush=True)
        if protected.killed or (kind != "forever" and protected.done < protected.started):
            wrong.append(f"{name}, {way}, {kind}: {protected}")
    print("\n".join(("", *wrong)) if wrong else "\nnothing was lost, nobody was killed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
