"""What the whole library costs a hello-world app under uWSGI: requests per second, without and
with it.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import Dict, List

from bench import ROOT
from bench.report import alternating, machine
from lab.processes import Server
from lab.processes.base import find_tool
from lab.processes.uwsgi import Option

ROUNDS = 9
SECONDS = 3

UNPROTECTED: Dict[str, Option] = {"module": "bench.wrap.hello_app"}
PROTECTED: Dict[str, Option] = {
    "module": "bench.wrap.hello_protected",
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}
COMMON: Dict[str, Option] = {
    "master": True,
    "processes": 1,
    "listen": 1024,
    "disable-logging": True,
    "harakiri": 30,
    "need-app": True,
    "pythonpath": str(ROOT),
}


def requests_per_second(server: Server) -> float:
    """Return what wrk measures, with one connection per request, as nginx does it."""
    url = f"http://127.0.0.1:{server.port}/"
    command = [find_tool("wrk"), "-t1", "-c8", f"-d{SECONDS}s", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    if "Non-2xx" in out:
        raise RuntimeError(out)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))  # type: ignore[union-attr]


def run() -> str:
    """Return the report."""
    runs: Dict[str, List[float]] = {"without": [], "with": []}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(Server({**COMMON, **options}))
            for name, options in (("without", UNPROTECTED), ("with", PROTECTED))
        }
        for server in servers.values():
            requests_per_second(server)
        for _ in range(ROUNDS):
            for name, server in servers.items():
                runs[name].append(requests_per_second(server))
    table = alternating(
        "Hello world under uWSGI, one process", "requests per second", runs, "without"
    )
    return f"{machine('uwsgi', 'wrapt')}; wrk, 8 connections, {SECONDS} s a run, runs alternate\n\n{table}"


if __name__ == "__main__":
    sys.stdout.write(run())
