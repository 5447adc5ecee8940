"""What the limits cost a healthy call: ratios of medians, in rounds that alternate between off and on.

    python -m bench.outbound_costs [rounds]

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
from typing import Any, Callable, Dict, Iterator, List

import httpx
import requests
import urllib3

from resilient_wsgi import outbound

GIB = 1024**3


@contextlib.contextmanager
def server() -> Iterator[str]:
    code = "from bench.outbound_hostile import Hostile; import sys; s = Hostile(); print(s.url, flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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
        "urllib3, no timeout": lambda: manager.request("GET", ok),
        "urllib3, timeout=5": lambda: manager.request("GET", ok, timeout=5),
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


def alternate(call: Callable[[], Any], rounds: int, repeat: int) -> Dict[str, float]:
    """Return the median seconds of a call without and with the limits."""
    seconds: Dict[str, List[float]] = {"off": [], "on": []}
    clock = time.perf_counter
    for _ in range(rounds):
        for state in ("off", "on"):
            outbound.install() if state == "on" else outbound.uninstall()
            call()
            for _ in range(repeat):
                began = clock()
                call()
                seconds[state].append(clock() - began)
    outbound.uninstall()
    return {state: statistics.median(values) for state, values in seconds.items()}


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


def row(name: str, off: float, on: float, unit: str, scale: float) -> str:
    return f"| {name} | {off * scale:.1f} {unit} | {on * scale:.1f} {unit} | {100 * (on / off - 1):+.1f} % |"


def main(rounds: int = 30, size: int = GIB) -> None:
    with server() as url:
        print("| a call, keep-alive, loopback | without | with | |\n|---|---|---|---|")
        for name, call in calls(url).items():
            result = alternate(call, rounds, 100)
            print(row(name, result["off"], result["on"], "µs", 1e6), flush=True)
        print(f"\n| a download of {size / GIB:g} GiB | without | with | |\n|---|---|---|---|")
        for name, call in downloads(url, size).items():
            result = alternate(call, max(3, rounds // 6), 1)
            print(row(name, result["off"], result["on"], "s", 1), flush=True)
        print("\n| memory that a call leaves behind | without | with |\n|---|---|---|")
        for name, call in calls(url).items():
            off = memory(call)
            outbound.install()
            on = memory(call)
            outbound.uninstall()
            print(f"| {name} | {off:.1f} bytes | {on:.1f} bytes |", flush=True)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
