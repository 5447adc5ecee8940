"""How well the wait of each request is known from the listen queue alone, beside what nginx says.

nginx stamps each request in milliseconds; the library does not read it, the app does. From half of
the capacity to 4 x, with clients that wait for 2 s, so that requests are shed; of those that run.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from typing import Dict, List, Tuple

from bench.overload.cells import COMMON, PROTECTED, SHAPES
from bench.report import machine
from lab.measuring import load
from lab.processes import Nginx, Server

STAMP = {"HTTP_X_REQUEST_START": "${msec}"}


def pairs(shape: str, listen_on: str, factor: float, seconds: float) -> List[Tuple[float, float]]:
    """Return for each request how long it has waited, by the stamp and by the library."""
    threads = 8 if shape == "threads" else 4
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(tempfile.NamedTemporaryFile("r+"))
        env: Dict[str, str | None] = {"BENCH_WAITS": found.name}
        options = {
            **COMMON,
            **SHAPES[shape],
            **PROTECTED,
            "module": "bench.overload.overload_app:protected",
        }
        server = stack.enter_context(Server(options, listen_on=listen_on, env=env))
        nginx = stack.enter_context(Nginx([server.address], parameters=STAMP))
        load.burst(nginx.port, "/", 16, 10)
        rate = load.Rate("/", factor * threads / 0.1)
        with load.Load(nginx.port, [rate], 2.0, seconds) as traffic:
            time.sleep(seconds)
            traffic.end()
        found.seek(0)
        lines = [line.split() for line in found.read().splitlines()]
    return [(float(told), float(known)) for told, known in lines]


def main(seconds: str = "15") -> None:
    """Print the table."""
    print(machine("uwsgi"), "\n")
    print(
        "| | load | requests that ran | longest wait, s | error, ms: median | p99 | largest |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for shape, listen_on in (("processes", "unix"), ("processes", "uwsgi"), ("threads", "unix")):
        for factor in (0.5, 2.0, 4.0):
            found = pairs(shape, listen_on, factor, float(seconds))
            errors = sorted(abs(known - told) * 1000 for told, known in found)
            cuts = statistics.quantiles(errors, n=100)
            print(
                f"| {shape} on {listen_on} | {factor:g} x | {len(found)} | "
                f"{max(told for told, _ in found):.2f} | {cuts[49]:.0f} | {cuts[98]:.0f} | "
                f"{errors[-1]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
