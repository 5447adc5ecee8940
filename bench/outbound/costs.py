"""What the limits cost a healthy call: ratios of medians, in rounds that alternate between off and
on.

    python -m bench.outbound.costs [rounds]

The server is a process of its own; install and uninstall happen in this one, between the rounds.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import subprocess
import sys
import time
import tracemalloc
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence

import httpx
import requests
import urllib3

from bench.report import machine
from resilient_wsgi import deadline, outbound

GIB = 1024**3
HEADER = "| {} | without | with | ratio of medians | quartiles of the rounds' ratios | CPU of the client |\n|---|---|---|---|---|---|"


@contextlib.contextmanager
def server() -> Iterator[str]:
    code = "from bench.outbound.hostile import Hostile; import sys; s = Hostile(); print(s.url, flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def calls(url: str) -> Dict[str, Callable[[], Any]]:
    session, manager = requests.Session(), urllib3.PoolManager()
    session.trust_env = False
    client = httpx.Client(trust_env=False, verify=False)
    ok = f"{url}/ok"
    return {
        "requests, no timeout": lambda: session.get(ok),
        "requests, timeout=5": lambda: session.get(ok, timeout=5),
        "requests, in a request with a deadline": deadline.limit(20)(lambda: session.get(ok)),
        "urllib3, no timeout": lambda: manager.request("GET", ok),
        "urllib3, timeout=5": lambda: manager.request("GET", ok, timeout=5),
        "urllib3, in a request with a deadline": deadline.limit(20)(
            lambda: manager.request("GET", ok)
        ),
        "httpx": lambda: client.get(ok),
    }


def downloads(url: str, size: int) -> Dict[str, Callable[[], Any]]:
    session, manager = requests.Session(), urllib3.PoolManager()
    session.trust_env = False
    big = f"{url}/big/{size}"

    def by_requests(**options: Any) -> None:
        with session.get(big, stream=True, **options) as response:
            for _ in response.iter_content(64 * 1024):
                pass

    def by_urllib3(**options: Any) -> None:
        response = manager.request("GET", big, preload_content=False, **options)
        for _ in response.stream(64 * 1024):
            pass
        response.release_conn()

    return {
        "requests, no timeout": by_requests,
        "requests, timeout=5": lambda: by_requests(timeout=5),
        "urllib3, no timeout": by_urllib3,
        "urllib3, timeout=5": lambda: by_urllib3(timeout=5),
    }


class Result(NamedTuple):
    """Medians of seconds without and with the limits, and the quartiles of the ratios of
    neighbouring rounds.
    """

    off: float
    on: float
    quartiles: Sequence[float]
    cpu: Mapping[str, float]

    def row(self, name: str, unit: str, scale: float) -> str:
        low, _, high = self.quartiles
        medians = f"{self.off * scale:.1f} {unit} | {self.on * scale:.1f} {unit} | {self.on / self.off:.3f}"
        cpu = f"{self.cpu['off'] * scale:.1f} to {self.cpu['on'] * scale:.1f} {unit}"
        return f"| {name} | {medians} | {low:.3f} to {high:.3f} | {cpu} |"


def alternate(call: Callable[[], Any], rounds: int, repeat: int) -> Result:
    """Measure a call without and with the limits, in turns, each of them first in every other
    round.
    """
    seconds: Dict[str, List[float]] = {"off": [], "on": []}
    medians: Dict[str, List[float]] = {"off": [], "on": []}
    cpu: Dict[str, List[float]] = {"off": [], "on": []}
    clock = time.perf_counter
    for number in range(rounds):
        for state in ("off", "on") if number % 2 else ("on", "off"):
            outbound.install() if state == "on" else outbound.uninstall()
            call()
            taken = []
            cpu_began = time.thread_time()
            for _ in range(repeat):
                began = clock()
                call()
                taken.append(clock() - began)
            cpu[state].append((time.thread_time() - cpu_began) / repeat)
            seconds[state] += taken
            medians[state].append(statistics.median(taken))
    outbound.uninstall()
    ratios = [on / off for off, on in zip(medians["off"], medians["on"])]
    off, on = (statistics.median(seconds[state]) for state in ("off", "on"))
    cpus = {state: statistics.median(values) for state, values in cpu.items()}
    return Result(off, on, statistics.quantiles(ratios, n=4), cpus)


def memory(call: Callable[[], Any], repeat: int = 300) -> float:
    """Return how many bytes a call leaves behind."""
    for _ in range(50):
        call()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            call()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(repeat):
            call()
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / repeat
    finally:
        tracemalloc.stop()


def main(rounds: int = 60, size: int = GIB) -> None:
    print(f"Measured on {machine('requests', 'urllib3', 'httpx', 'httpcore', 'wrapt')}.\n")
    with server() as url:
        print(HEADER.format("a call, keep-alive, loopback"))
        for name, call in calls(url).items():
            print(alternate(call, rounds, 100).row(name, "µs", 1e6), flush=True)
        print("\n" + HEADER.format(f"a download of {size / GIB:g} GiB"))
        for name, call in downloads(url, size).items():
            print(alternate(call, max(4, rounds * 2 // 3), 1).row(name, "ms", 1e3), flush=True)
        print("\n| memory that a call leaves behind | without | with |\n|---|---|---|")
        for name, call in calls(url).items():
            off = memory(call)
            outbound.install()
            on = memory(call)
            outbound.uninstall()
            print(f"| {name} | {off:.1f} bytes | {on:.1f} bytes |", flush=True)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
