"""Waits that drivers end themselves, on pooled connections, each with a token: python -m
bench.waits.driver_ends [ENDS].

As bench.waits.ends, but without a watchdog: a `deadline.limit()` is around each request that may
hang. An error in one that has no limit, an error that is not of the limit, or an answer with the
token of another connection, is wrong.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import sys
import threading
import time
from typing import Any, Counter, List

from bench.report import machine
from resilient_wsgi import deadline, errors
from resilient_wsgi.drivers.component import Drivers
from resilient_wsgi.settings import options

from . import servers
from .ends import Redis, SQLAlchemy
from .rig import name_of

THREADS = 8
DEADLINE = 0.03
HANGS = 0.6


class MySQL(SQLAlchemy):
    """The same with PyMySQL; the token is a variable of the session."""

    url = "mysql+{driver}://root@127.0.0.1:{port}/test"
    keep = "set @token = :token"
    wait = "select @token, sleep(:seconds)"


class Load:
    """Threads that serve until so many waits were ended."""

    def __init__(self, wanted: int, pools: List[Any]) -> None:
        self.wanted = wanted
        self.pools = pools
        self.counts: Counter[str] = collections.Counter()
        self.wrong: List[str] = []
        self.ended = 0

    def serve(self, seed: int) -> None:
        choice = random.Random(seed)
        while self.ended < self.wanted:
            kind = choice.choice(("healthy", "late", "late", "close"))
            seconds = {"healthy": 0.0, "late": HANGS}.get(kind)
            if seconds is None:
                seconds = DEADLINE + choice.uniform(-0.01, 0.01)
            self.request(choice.choice(self.pools), kind, seconds)

    def request(self, pool: Any, kind: str, seconds: float) -> None:
        outcome = "answered"
        limited = contextlib.nullcontext() if kind == "healthy" else deadline.limit(DEADLINE)
        try:
            with limited:
                told, found = pool.use(seconds)
            if told != found:
                self.wrong.append(f"token {told} met {found}")
        except pool.errors as error:
            ours = getattr(error, "orig", None) or error
            outcome = name_of(ours)
            if kind == "healthy" or not isinstance(ours, errors.DeadlineExceeded):
                self.wrong.append(f"{type(pool).__name__} {kind}: {outcome}: {str(ours)[:200]}")
            else:
                self.ended += 1
        self.counts[f"{type(pool).__name__}: {kind}: {outcome}"] += 1

    def run(self) -> float:
        threads = [threading.Thread(target=self.serve, args=(seed,)) for seed in range(THREADS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - began


def main() -> None:
    """Print what came of it."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    Drivers.here().install(options.Drivers())
    with servers.postgres() as pg, servers.mariadb() as my, servers.redis() as cache:
        pools: List[Any] = [SQLAlchemy(pg, "psycopg"), MySQL(my, "pymysql"), Redis(cache)]
        load = Load(wanted, pools)
        for pool in pools:
            pool.use(0.0)
        before = len(os.listdir("/proc/self/fd"))
        took = load.run()
        for pool in pools:
            pool.close()
        after = len(os.listdir("/proc/self/fd"))
    print(machine(), "\n")
    print(f"{load.ended} ended in {took:.0f} s; {len(load.wrong)} wrong; descriptors", end=" ")
    print(f"{before} before, {after} after")
    for name, count in sorted(load.counts.items()):
        print(f"  {count:6} {name}")
    print("\n".join(load.wrong[:20]))


if __name__ == "__main__":
    main()
