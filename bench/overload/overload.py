"""Goodput under overload: twice what the service can do is asked of it, and clients give up after
two seconds.

Without the library, with it at default settings, and with it with a header and a target.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from typing import Dict, List, Sequence

from bench import ROOT
from bench.report import machine
from lab.incidents.overload import (
    CAPACITY,
    FILLED,
    PATIENCE,
    PROCESSES,
    STAMP,
    TARGET,
    WORK_SECONDS,
    Overload,
    drive,
)
from lab.measuring import load
from lab.processes import Nginx, Server
from lab.processes.uwsgi import Option

COMMON: Dict[str, Option] = {
    "master": True,
    "processes": PROCESSES,
    "listen": 4096,
    "disable-logging": True,
    "need-app": True,
    "harakiri": 30,
    "pythonpath": str(ROOT),
}
PROTECTED: Dict[str, Option] = {
    "module": "bench.request.request_app:protected",
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}
CASES: Dict[str, tuple[Dict[str, Option], Dict[str, str | None]]] = {
    "without": ({"module": "bench.request.request_app:unprotected"}, {}),
    "with, at default settings": (PROTECTED, {}),
    "with, with the router's header and TARGET = 0.3": (PROTECTED, TARGET),
}


def overload(
    options: Dict[str, Option], env: Dict[str, str | None], factor: float, seconds: float
) -> Overload:
    """Run one case."""
    env = {**env, "BENCH_WORK_SECONDS": str(WORK_SECONDS)}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server({**COMMON, **options}, listen_on="uwsgi", env=env))
        nginx = stack.enter_context(Nginx([server.address], parameters=STAMP))
        load.burst(nginx.port, "/", PROCESSES * 4, 10.0)
        return drive(nginx.port, "/", CAPACITY * factor, seconds)


def run(seconds: float = 60.0, factor: float = 2.0) -> str:
    """Return the report."""
    head = (
        f"{machine('uwsgi')}; nginx, {PROCESSES} processes, {WORK_SECONDS * 1000:g} ms a request: "
        f"{CAPACITY:g}/s at most; "
        f"{CAPACITY * factor:g}/s asked for {seconds:g} s, clients wait {PATIENCE:g} s; "
        f"counted from the {FILLED:g}th second on, when the queue is full"
    )
    lines = [
        head,
        "",
        (
            "| | good answers/s | of capacity | 503/s | no answer/s | median, s | p99, s | good again "
            "after, s |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (options, env) in CASES.items():
        out = overload(options, env, factor, seconds)
        recovered = "not in 90" if out.recovered is None else f"{out.recovered:.1f}"
        good, refused = out.per_second(), out.per_second("503")
        lines.append(
            f"| {name} | {good:.1f} | {good / CAPACITY:.0%} | {refused:.1f} | "
            f"{out.per_second(load.NO_ANSWER):.1f} "
            f"| {_seconds(out.waits, 0.5)} | {_seconds(out.waits, 0.99)} | {recovered} |"
        )
    return "\n".join(lines) + "\n"


def _seconds(waits: Sequence[float], share: float) -> str:
    """Return the quantile of the good answers' times."""
    if len(waits) < 2:
        return "-"
    points: List[float] = statistics.quantiles(waits, n=100)
    return f"{points[round(share * 100) - 1]:.2f}"


if __name__ == "__main__":
    sys.stdout.write(run(*map(float, sys.argv[1:])))
