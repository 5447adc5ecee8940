"""What a healthy call costs, beside another checkout of the library: CPU time, in turns.

    python -m bench.outbound.beside PATH [pairs] [rounds]

Each checkout has a process of its own; both take turns, in an order that changes each round, and
give way to a new pair after some rounds. The interval is that of the mean of the pairs' ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import Dict, List, Sequence

from bench.outbound.costs import server
from bench.report import machine

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CALLS = 100
CLIENT = """
import sys, time
url, calls = sys.argv[1], int(sys.argv[2])
import httpx, requests, urllib3
from resilient_wsgi import deadline, outbound
import resilient_wsgi
assert resilient_wsgi.__file__.startswith(sys.argv[3] + "/resilient_wsgi/"), resilient_wsgi.__file__
outbound.install()
session, manager = requests.Session(), urllib3.PoolManager()
session.trust_env = False
client = httpx.Client(trust_env=False, verify=False)
limited = deadline.limit(20)
ways = {
    "requests": lambda: session.get(url),
    "requests, timeout=5": lambda: session.get(url, timeout=5),
    "requests, in a request": limited(lambda: session.get(url)),
    "urllib3": lambda: manager.request("GET", url),
    "httpx": lambda: client.get(url),
}
for call in ways.values():
    for _ in range(30):
        call()
print("ready", flush=True)
for line in sys.stdin:
    call = ways[line.strip()]
    began = time.thread_time()
    for _ in range(calls):
        call()
    print((time.thread_time() - began) / calls, flush=True)
"""
WAYS = ("requests", "requests, timeout=5", "requests, in a request", "urllib3", "httpx")


class Client:
    """A process that calls with the library of one checkout."""

    def __init__(self, path: str, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-c", CLIENT, f"{url}/ok", str(CALLS), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=path,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
        )
        self._line()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def cpu(self, way: str) -> float:
        """Return the seconds of CPU time that a call takes."""
        assert self._process.stdin
        self._process.stdin.write(f"{way}\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


Taken = Dict[str, List[List[float]]]
"""By way, the seconds of the rounds: before, now."""


def pair(paths: Sequence[str], url: str, rounds: int) -> Taken:
    """Measure with two new processes: where the memory of one lies may make it 1 % slower."""
    clients = {path: Client(path, url) for path in paths}
    taken: Taken = {way: [[], []] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            for each in (0, 1) if number % 2 else (1, 0):
                taken[way][each].append(clients[sorted(paths)[each]].cpu(way))
    for client in clients.values():
        client.close()
    return taken


def row(way: str, pairs: Sequence[Taken], swapped: bool) -> str:
    # the quickest round of each process: other work on the machine makes a round slower only
    quickest = [[min(times) for times in taken[way]] for taken in pairs]
    if swapped:
        quickest = [each[::-1] for each in quickest]
    ratios = [now / before for before, now in quickest]
    mean = statistics.mean(ratios)
    spread = 1.96 * statistics.stdev(ratios) / len(ratios) ** 0.5
    before, now = (statistics.median(times) * 1e6 for times in zip(*quickest))
    ratio = f"{statistics.median(ratios):.4f} | {mean:.4f} ± {spread:.4f}"
    return f"| {way} | {before:.1f} | {now:.1f} | {ratio} |"


def main(other: str, pairs: int = 20, rounds: int = 10) -> None:
    paths = [os.path.abspath(other), ROOT]
    with server() as url:
        found = [pair(paths[:: 1 if number % 2 else -1], url, rounds) for number in range(pairs)]
    print(f"Measured on {machine('requests', 'urllib3', 'httpx', 'wrapt')};")
    print(f"{pairs} pairs of processes, {rounds} rounds of {CALLS} calls each.\n")
    print("| a call | before, µs | now, µs | median of the ratios | mean, 95 % |")
    print("|---|---|---|---|---|")
    for way in WAYS:
        print(row(way, found, swapped=sorted(paths) != paths))


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
