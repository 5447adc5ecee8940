"""Bursts through uWSGI beside readers that read: what arrives of lines of the app and of uWSGI's
own request log.

`python -m bench.stderr.bursts [RUNS]`: 60 000 lines of 200 bytes in three requests beside `cat`, so
often (20), then each reader and each way to run workers once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, Mapping, NamedTuple

from bench.report import machine
from lab.measuring import load
from lab.processes import Server
from lab.processes.uwsgi import Option

APP = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
def application(environ, start_response):
    for i in range(int(environ["QUERY_STRING"] or 0)): logging.info("line %05d %s", i, "x" * 180)
    start_response("200 OK", [])
    return [b"ok"]
"""
PROTECTION = "import resilient_wsgi\napplication = resilient_wsgi.wrap(application)\n"
SLOWLY = """
import os, sys, time
while True:
    chunk = os.read(0, 32768)
    if not chunk: break
    os.write(1, chunk)
    time.sleep(len(chunk) / float(sys.argv[1]))
"""
THREADS: Mapping[str, Option] = {"processes": 2, "threads": 4}


class Burst(NamedTuple):
    """What arrived."""

    lines: int
    request_lines: int
    torn: int
    dropped: int
    seconds: float


def burst(
    lines: int,
    requests: int,
    *,
    protected: bool = True,
    rate: float = 0,
    options: Mapping[str, Option] | None = None,
) -> Burst:
    """Run one instance, whose log goes to `cat` or to a reader that takes so many bytes a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP + PROTECTION * protected)
        chosen: dict[str, Option] = {
            "master": True,
            "module": "app",
            "lazy-apps": True,
            "die-on-term": True,
        }
        chosen.update({"shared-import": "resilient_wsgi.uwsgi"} if protected else {})
        chosen.update(options or {})
        command = [sys.executable, "-c", SLOWLY, str(rate)] if rate else ["cat"]
        with open(folder / "log", "wb") as log:
            reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log)
        assert reader.stdin is not None
        with Server(chosen, env={"PYTHONPATH": name}, stderr=reader.stdin.fileno()) as server:
            begin = time.monotonic()
            load.closed_loop(
                server.port, f"/?{lines}", count=requests, clients=8 if options else 1, patience=120
            )
            seconds = time.monotonic() - begin
            time.sleep(0.5)  # the line of the last request follows its answer
        reader.stdin.close()
        reader.wait()
        text = (folder / "log").read_bytes()
    whole = len(re.findall(rb"line \d{5} x{180}\n", text))
    return Burst(
        whole,
        len(re.findall(rb"\] GET /\?\d", text)),
        len(re.findall(rb"line \d{5} ", text)) - whole,
        sum(map(int, re.findall(rb"(\d+) lines \(\d+ bytes\) dropped", text))),
        seconds,
    )


def run(runs: int) -> Iterator[str]:
    """Yield the report, line by line."""
    yield f"{machine('uwsgi')}, load {os.getloadavg()[0]:.1f}, {threading.active_count()} thread\n"
    yield "| case | lines of the app | of uWSGI's request log | torn | counted as dropped | s |"
    yield "| --- " * 6 + "|"
    for number in range(runs):
        yield _row(f"`cat`, run {number + 1}", 20_000, 3)
    for protected in (False, True):
        word = "with" if protected else "without"
        for rate in (0, 8e6, 3e6):
            reader = f"{rate / 1e6:.0f} MB/s" if rate else "`cat`"
            yield _row(f"{reader}, {word} the library", 20_000, 3, protected=protected, rate=rate)
            yield _row(
                f"{reader}, 2 x 4 threads, {word} the library",
                100,
                400,
                protected=protected,
                rate=rate,
                options=THREADS,
            )


def _row(case: str, lines: int, requests: int, **how: object) -> str:
    found = burst(lines, requests, **how)  # type: ignore[arg-type]
    words = (
        f"{found.lines} of {lines * requests}",
        f"{found.request_lines} of {requests}",
        found.torn,
        found.dropped,
    )
    return f"| {case} | {' | '.join(map(str, words))} | {found.seconds:.1f} |"


if __name__ == "__main__":
    for line in run(int(sys.argv[1]) if sys.argv[1:] else 20):
        print(line, flush=True)
