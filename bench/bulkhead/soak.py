"""Many healthy calls in a pool that starves, and payments to an upstream that hangs.

    python -m bench.bulkhead.soak [--calls 1000000] [--payments 600]

Calls: 2 x 16 threads are asked by twice as many clients, so that requests always wait; each makes
100 calls of three healthy upstreams, whose latencies have long tails. None may be refused or ended.
Payments: POSTs to an upstream that takes them and never answers, of 4 threads; none may be ended
before 5 s, for so many seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import threading
import time
from typing import List

from lab.measuring import load

from .hanging import Hanging
from .instances import WITH, instance
from .weather import ANSWER, Upstream, counts

CALLS_EACH = 100
CLIENTS = 64


class Tailed(Upstream):
    """Answers after a time with a long tail: lognormal, at most a second."""

    def __init__(self, median: float, sigma: float) -> None:
        super().__init__()
        self._median, self._sigma = median, sigma

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                seconds = self._median * random.lognormvariate(0, self._sigma)
                if seconds > 0.002:
                    await asyncio.sleep(min(1.0, seconds))
                writer.write(ANSWER)
        writer.close()


def calls(wanted: int) -> str:
    """Return what came of so many healthy calls."""
    with Tailed(0.0005, 1.5) as x, Tailed(0.005, 1.5) as y, Tailed(0.02, 1.2) as z:
        urls = {"x": x.url, "y": y.url, "z": z.url}
        with instance("uwsgi 2 x 16", WITH, urls) as (port, server):
            left = multiprocessing.Value("i", wanted // CALLS_EACH)
            good = [0] * CLIENTS

            def ask(number: int) -> None:
                while True:
                    with left.get_lock():
                        if left.value <= 0:
                            return
                        left.value -= 1
                    path = f"/calls/{random.choice('xxxxyyz')}/{CALLS_EACH}"
                    good[number] += load.get(port, path, 600.0).good

            begin = time.monotonic()
            clients = [threading.Thread(target=ask, args=(n,)) for n in range(CLIENTS)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            refused, ended = counts(server.pid)
            made = sum(good) * CALLS_EACH
            limited = server.log().count("[RW111]")
    seconds = time.monotonic() - begin
    return (
        f"{made} healthy calls in {seconds:.0f} s: {refused} refused, {ended} ended, "
        f"{limited} times limited"
    )


def payments(seconds: float) -> str:
    """Return how old payments were when they were ended."""
    rates = [load.Rate("/call/x/POST", 10), load.Rate("/other", 5)]
    with Hanging("headers") as upstream, instance("uwsgi 4 x 1", WITH, {"x": upstream.url}) as made:
        with load.Load(made[0], rates, patience=30, seconds=seconds + 60) as traffic:
            time.sleep(seconds)
            held: List[float] = sorted(upstream.held)
            traffic.stop()
        refused, ended = counts(made[1].pid)
    early = sum(age < 4.95 for age in held)
    return (
        f"{len(held)} payments that were sent: {early} ended before 5 s, the youngest after "
        f"{held[0]:.2f} s, the oldest after {held[-1]:.2f} s; {refused} refused, {ended} ended"
    )


def main() -> None:
    """Print both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=1_000_000)
    arguments.add_argument("--payments", type=float, default=600.0)
    asked = arguments.parse_args()
    if asked.payments:
        print(payments(asked.payments), flush=True)
    if asked.calls:
        print(calls(asked.calls), flush=True)


if __name__ == "__main__":
    main()
