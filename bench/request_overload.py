"""Goodput under overload: twice what the service can do is asked of it, and clients give up after two seconds.

Plain beside the library, and beside the library with a target for the queue. nginx in front says when it had the request.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple

from bench.report import machine
from lab import load
from lab.processes import Nginx, Server
from lab.processes.nginx import PARAMETERS
from lab.processes.uwsgi import Option

PROCESSES = 2
WORK_SECONDS = 0.05
CAPACITY = PROCESSES / WORK_SECONDS
PATIENCE = 2.0
ROOT = Path(__file__).parents[1]

# what an operator adds to nginx.conf
PARAMETERS["HTTP_X_REQUEST_START"] = "t=${msec}"

COMMON: Dict[str, Option] = {
    "master": True,
    "processes": PROCESSES,
    "listen": 1024,
    "disable-logging": True,
    "need-app": True,
    "harakiri": 30,
    "pythonpath": str(ROOT),
}
GUARDED: Dict[str, Option] = {
    "module": "bench.request_app:guarded",
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}
CASES: Dict[str, tuple[Dict[str, Option], Dict[str, str | None]]] = {
    "plain": ({"module": "bench.request_app:plain"}, {}),
    "guarded (dead clients skipped)": (GUARDED, {}),
    "guarded, QUEUE_TARGET = 0.3": (GUARDED, {"RESILIENT_WSGI_REQUEST_QUEUE_TARGET": "0.3"}),
}


class Outcome(NamedTuple):
    """What one case came to; rates per second, times in seconds."""

    good: float
    refused: float
    unanswered: float
    median_wait: float
    recovered: float | None


def overload(options: Dict[str, Option], env: Dict[str, str | None], factor: float, seconds: float) -> Outcome:
    """Run one case."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server({**COMMON, **options}, listen_on="uwsgi", env=env))
        nginx = stack.enter_context(Nginx([server.address]))
        load.burst(nginx.port, "/", PROCESSES * 4, 10.0)
        with load.Load(nginx.port, [load.Rate("/", CAPACITY * factor)], PATIENCE, seconds) as traffic:
            begin = time.monotonic()
            time.sleep(seconds)
            end = time.monotonic()
            recovered = load.poll_until_good(nginx.port, "/", deadline=60.0, patience=PATIENCE, pause=0.05)
        return _judge(traffic.answers, begin + PATIENCE, end, recovered)


def _judge(answers: List[load.Answer], begin: float, end: float, recovered: float | None) -> Outcome:
    """Count what came between two moments: the first seconds of an overload, while the queue fills, are good in any case."""
    seen = [answer for answer in answers if begin < answer.end <= end]
    good = [answer.end - answer.begin for answer in seen if answer.good]
    refused = sum(answer.status == "503" for answer in seen)
    span = end - begin
    return Outcome(
        len(good) / span,
        refused / span,
        (len(seen) - len(good) - refused) / span,
        statistics.median(good) if good else 0.0,
        recovered,
    )


def run(seconds: float = 20.0, factor: float = 2.0) -> str:
    """Return the report."""
    head = (
        f"{machine('uwsgi')}; nginx, {PROCESSES} processes, {WORK_SECONDS * 1000:g} ms a request: {CAPACITY:g}/s at most; "
        f"{CAPACITY * factor:g}/s asked for {seconds:g} s, clients wait {PATIENCE:g} s"
    )
    lines = [
        head,
        "",
        "| | good answers/s | of capacity | 503/s | no answer/s | median, s | good again after, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (options, env) in CASES.items():
        out = overload(options, env, factor, seconds)
        recovered = "not in 60" if out.recovered is None else f"{out.recovered:.1f}"
        lines.append(
            f"| {name} | {out.good:.1f} | {out.good / CAPACITY:.0%} | {out.refused:.1f} | {out.unanswered:.1f} "
            f"| {out.median_wait:.2f} | {recovered} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(run(*map(float, sys.argv[1:])))
