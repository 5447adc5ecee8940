"""What `install()` and `wrap()` add to a process: memory, CPU time, modules; beside a version
before.

`python -m bench.wrap.weight PATH`: PATH is a checkout of the version before (`git worktree add`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, NamedTuple, Sequence, Tuple

from bench.report import machine, spread

ROUNDS = 21
HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOADED = {
    "Django's handler and requests": "import django.core.handlers.wsgi, requests",
    "requests": "import requests",
    "nothing": "pass",
}
SEEN = """
import json, os, resource, sys
def seen():
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return used.ru_utime + used.ru_stime, pages * os.sysconf("SC_PAGESIZE"), len(sys.modules)
"""
CODE = (
    SEEN
    + """
{before}
first = seen()
import resilient_wsgi
resilient_wsgi.install()
resilient_wsgi.wrap(lambda environ, start_response: [])
last = seen()
assert resilient_wsgi.__file__.startswith({root!r}), resilient_wsgi.__file__
print(json.dumps([late - early for early, late in zip(first, last)]))
"""
)
IN_WORKER = "a worker of gunicorn that has served 10 requests"
APP = (
    SEEN
    + """
import django.core.handlers.wsgi, requests
def app(environ, start_response):
    body = json.dumps(seen()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
if os.environ["LIBRARY"]:
    import resilient_wsgi
    resilient_wsgi.install({"REQUEST": {"TIMEOUT": 30}})
    app = resilient_wsgi.wrap(app)
"""
)
# these write the bytecode, which is there in production
WARM_UP = 2


class Added(NamedTuple):
    """What was added in one process."""

    cpu: float
    memory: float
    modules: float


def added(root: str, before: str) -> Added:
    """Return what the library at `root` adds to a fresh interpreter in which `before` was run."""
    environ = {**os.environ, "PYTHONPATH": root}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(before=before, root=root)],
        capture_output=True,
        check=True,
        timeout=60,
        cwd="/",
        env=environ,
    )
    cpu, memory, modules = json.loads(done.stdout)
    return Added(cpu * 1e3, memory / 2**20, modules)


def in_worker(root: str) -> Tuple[float, float, float]:
    """Return what a worker of gunicorn has used in all, with the library at `root` or without."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "weighed.py"), "w", encoding="ascii") as file:
            file.write(APP)
        address = os.path.join(folder, "socket")
        environ = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{folder}", "LIBRARY": root}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "gunicorn", "--bind", f"unix:{address}", "weighed:app"]
        server = subprocess.Popen(command, env=environ, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            answers = [_asked(address) for _ in range(10)]
        finally:
            server.terminate()
            server.wait(30)
    cpu, memory, modules = json.loads(answers[-1])
    return cpu, memory, modules


def _asked(address: str) -> bytes:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(address)
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: client.recv(4096), b"")).partition(b"\r\n\r\n")[2]
        time.sleep(0.02)
    raise TimeoutError(address)


def added_to_worker(root: str) -> Added:
    """Return what the library at `root` adds to a worker of gunicorn."""
    cpu, memory, modules = (a - b for a, b in zip(in_worker(root), in_worker("")))
    return Added(cpu * 1e3, memory / 2**20, modules)


def measured(roots: Dict[str, str]) -> Dict[Tuple[str, str], List[Added]]:
    """Return the runs of each version in each kind of process, the versions alternating."""
    runs: Dict[Tuple[str, str], List[Added]] = {}
    for round_ in range(-WARM_UP, ROUNDS):
        for loaded, before in LOADED.items():
            for version, root in roots.items():
                result = added(root, before)
                if round_ >= 0:
                    runs.setdefault((loaded, version), []).append(result)
        for version, root in roots.items():
            result = added_to_worker(root)
            if round_ >= 0:
                runs.setdefault((IN_WORKER, version), []).append(result)
    return runs


def run(arguments: Sequence[str]) -> str:
    """Return the report."""
    roots = {"now": HERE}
    if arguments:
        roots = {"before": os.path.abspath(arguments[0]), **roots}
    lines = [
        "### What install() and wrap() add to a process",
        "",
        machine("django", "requests", "gunicorn"),
        "",
        f"| loaded before | version | CPU, ms, median (range) of {ROUNDS} | RSS, MiB | modules |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (loaded, version), results in measured(roots).items():
        cpu, memory, modules = (list(values) for values in zip(*results))
        lines.append(
            f"| {loaded} | {version} | {spread(cpu)} | {spread(memory)} | {max(modules):g} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(run(sys.argv[1:]))
