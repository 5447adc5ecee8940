"""Goodput under overload: twice what the service can do is asked of it, and clients give up after
two seconds.

The library is at default settings: no header says when the router had a request. The service works
by waiting, so that the machine that runs all of this is not what is overloaded.
"""

from __future__ import annotations

import os
import statistics
import struct
import threading
import time
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from lab import shop
from lab.measuring import load
from lab.measuring.listen_queue import tcp_depth
from lab.measuring.sampler import Sampler, blocked_threads
from lab.processes import Nginx, Server
from lab.rendering.result import Result
from resilient_wsgi.overload import state
from resilient_wsgi.shm import finding, layout

PROCESSES = 4
WORK_SECONDS = 0.1
CAPACITY = PROCESSES / WORK_SECONDS
FACTOR = 2.0
PATIENCE = 2.0
SECONDS = 12.0
# at twice the capacity a queue from which everybody comes too late takes PATIENCE to build up, and
# those before it as long to be served; then it takes a second to learn how long clients wait
FILLED = 2 * PATIENCE + 1
# what an operator may add to nginx.conf, and to the environment
STAMP = {"HTTP_X_REQUEST_START": "t=${msec}"}
TARGET: Dict[str, str | None] = {
    "RESILIENT_WSGI_OVERLOAD_QUEUE_TIME_HEADER": "X-Request-Start",
    "RESILIENT_WSGI_OVERLOAD_TARGET": "0.3",
}


@dataclass(frozen=True)
class Overload:
    """What came of it: the answers once the queue was full, in how many seconds, and how long after
    the end it was good again.
    """

    answers: List[load.Answer]
    span: float
    recovered: float | None
    all: Sequence[load.Answer] = ()

    @property
    def waits(self) -> List[float]:
        """How long each good answer took."""
        return [answer.end - answer.begin for answer in self.answers if answer.good]

    def per_second(self, *statuses: str) -> float:
        """Return the answers a second with one of these statuses; without any, the good ones."""
        wanted = [a for a in self.answers if (a.status in statuses if statuses else a.good)]
        return len(wanted) / self.span


def drive(
    port: int, path: str, rate: float, seconds: float, sampler: Sampler | None = None
) -> Overload:
    """Ask for `rate` requests a second, then see how soon a single request gets its answer."""
    with load.Load(port, [load.Rate(path, rate)], PATIENCE, seconds + 1) as traffic:
        begin = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        traffic.end()
        if sampler is not None:
            sampler.mark("overload ends")
        recovered = load.poll_until_good(port, path, deadline=90.0, patience=PATIENCE, pause=0.05)
    if sampler is not None:
        sampler.mark("good again")
        sampler.add_answers(traffic.answers)
    seen = [answer for answer in traffic.answers if begin + FILLED < answer.end <= end]
    return Overload(seen, seconds - FILLED, recovered, traffic.answers)


class Allowed:
    """Looks every 100 ms at the wait from which on requests are shed, as it stands in the
    scoreboard.
    """

    def __init__(self, pid: int, begin: float) -> None:
        self._directory = finding.find(pid)
        self._begin = begin
        self._seen: List[Tuple[float, float | None]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="allowed")
        self._thread.start()

    def stop(self) -> List[Tuple[float, float | None]]:
        """Return what was seen, and when."""
        self._stopped.set()
        self._thread.join()
        return self._seen

    def _run(self) -> None:
        fd = self._directory.open(layout.NAME, os.O_RDONLY)
        try:
            header = layout.Header(os.pread(fd, layout.HEADER_BYTES, 0))
            at = header.geometry().queue_at + state.LIMIT * state.CELL_BYTES
            while not self._stopped.wait(0.1):
                (limit,) = struct.unpack("=d", os.pread(fd, state.CELL_BYTES, at))
                self._seen.append((time.monotonic() - self._begin, limit or None))
        finally:
            os.close(fd)


def run(protected: bool, seconds: float = SECONDS) -> Result:
    """Run the overload on the shop."""
    result = Result("overload", protected)
    options = shop.options(protected=protected, processes=PROCESSES, harakiri=30, listen=1024)
    with (
        shop.environment(
            SHOP_SLOW_SECONDS=str(WORK_SECONDS), SHOP_RESILIENT=str(int(protected))
        ) as env,
        Server(options, listen_on="uwsgi", env=env) as server,
        Nginx([server.address]) as nginx,
    ):
        # the first request of a worker is slow for reasons of its own
        load.burst(nginx.port, "/", PROCESSES * 4, 10.0)
        depth, blocked = lambda: tcp_depth(server.port), lambda: blocked_threads(server.workers())
        with Sampler(depth, blocked) as sampler:
            sampler.mark(f"{FACTOR:g} x capacity")
            allowed = Allowed(server.pid, sampler.begin) if protected else None
            came = drive(nginx.port, "/slow", FACTOR * CAPACITY, seconds, sampler)
            time.sleep(0.5)
            if allowed is not None:
                sampler.series.allowed = allowed.stop()
        sampler.series.waits = [
            (answer.end - sampler.begin, answer.end - answer.begin)
            for answer in came.all
            if answer.good
        ]
        result.series = sampler.series
    result.series.capacity = CAPACITY
    _judge(result, came)
    return result


def _judge(result: Result, came: Overload) -> None:
    good, share = came.per_second(), came.per_second() / CAPACITY
    result.figures.update(
        {
            f"good answers a second, after the first {FILLED:g} s": round(good, 1),
            "share of the capacity": round(share, 3),
            "refused with 503, a second": round(came.per_second("503"), 1),
            f"given up after {PATIENCE:g} s, a second": round(came.per_second(load.NO_ANSWER), 1),
            "median of the good answers, s": round(statistics.median(came.waits), 2)
            if came.waits
            else None,
            "good again after, s": None if came.recovered is None else round(came.recovered, 1),
        }
    )
    if result.protected:
        result.check("good answers for 85 % of the capacity", share >= 0.85)
        result.check(
            "good again within 2 s of the overload",
            came.recovered is not None and came.recovered <= 2.0,
        )
    else:
        result.check(
            "next to no client is answered in time (under 10 % of the capacity)", share < 0.1
        )
        result.check(
            "over 5 s until it is good again", came.recovered is None or came.recovered > 5.0
        )
    result.seen = (
        f"{good:.0f} good answers a second of {CAPACITY:g} that it can do ({share:.0%}), "
        f"{came.per_second('503'):.0f} refused, "
        f"{came.per_second(load.NO_ANSWER):.0f} in vain; good again "
        f"{result.figures['good again after, s']} s after it"
    )
