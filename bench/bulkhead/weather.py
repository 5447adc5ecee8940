"""Upstreams that are slow, that flap, that hang in twos, and that are well, on a real server.

    python -m bench.bulkhead.weather [NAME ...] [--kind "uwsgi 8 x 1"] [--seconds 20]

Refused and ended are the counts of the instance itself; where upstreams are well both must be 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from lab.measuring import load
from lab.processes.base import free_port
from resilient_wsgi.bulkhead.state import Limit
from resilient_wsgi.shm.layout import upstream_at
from resilient_wsgi.shm.snapshot import Snapshot

from .instances import PATIENCE, WITH, Outage, instance

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HUNG = 1e6
HEAD = ("weather", "calls/s", "other views good", "callers good after", "refused", "ended")


class Upstream:
    """An upstream in a process of its own, whose latency can be changed; `HUNG` is for ever."""

    def __init__(self, seconds: float = 0.01) -> None:
        context = multiprocessing.get_context("fork")
        self._seconds = context.Value("d", seconds)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._process = context.Process(target=self._run, daemon=True)

    def __enter__(self) -> Upstream:  # noqa: PYI034 - Self is in typing since 3.11
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def take(self, seconds: float) -> None:
        """Have calls that come from now on take so long."""
        self._seconds.value = seconds

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", self.port, backlog=1024)
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self._seconds.value)
                writer.write(ANSWER)
        writer.close()


Change = Callable[[Sequence[Upstream], float], None]


def _slow(seconds: float) -> Change:
    def change(upstreams: Sequence[Upstream], lasts: float) -> None:
        for upstream in upstreams:
            upstream.take(seconds)
        time.sleep(lasts)

    return change


def _flap(upstreams: Sequence[Upstream], lasts: float) -> None:
    end = time.monotonic() + lasts
    while time.monotonic() < end:
        for seconds in (HUNG, 0.01):
            upstreams[0].take(seconds)
            time.sleep(3)


def _pauses(upstreams: Sequence[Upstream], lasts: float) -> None:
    end = time.monotonic() + lasts
    while time.monotonic() < end:
        time.sleep(9.2)
        upstreams[0].take(0.8)
        time.sleep(0.8)
        upstreams[0].take(0.01)


def _well(_upstreams: Sequence[Upstream], lasts: float) -> None:
    time.sleep(lasts)


# name: calls a second, others a second, upstreams, the latency before, what changes
WEATHER: Dict[str, Tuple[float, float, int, float, Change]] = {
    "two hang": (20, 20, 2, 0.01, _slow(HUNG)),
    "flapping every 3 s": (10, 20, 1, 0.01, _flap),
    "brownout to 3 s": (10, 20, 1, 0.01, _slow(3.0)),
    "brownout to 300 ms": (40, 20, 1, 0.01, _slow(0.3)),
    "well: 2x saturation": (160, 0, 1, 0.1, _well),
    "well: pauses of 0.8 s": (100, 0, 1, 0.01, _pauses),
    "well: always 8 s, pool full, cold": (2, 0, 1, 8.0, _well),
    "well: always 8 s, pool full": (2, 0, 1, 8.0, _well),
}
LEARN = {"well: always 8 s, pool full": 45.0}  # seconds of a quarter of the calls before


@contextlib.contextmanager
def upstreams(count: int, seconds: float) -> Iterator[List[Upstream]]:
    """Run upstreams."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Upstream(seconds)) for _ in range(count)]


def counts(pid: int) -> Tuple[int, int]:
    """Return how many calls an instance has refused and ended."""
    with Snapshot.of_process(pid) as seen:
        numbers = list(seen.pool())
        limits = [Limit(numbers, upstream_at(n)) for n in range(2, len(seen.names))]
        return sum(int(x.refused) for x in limits), sum(int(x.ended) for x in limits)


def run(name: str, kind: str, seconds: float) -> List[Any]:
    """Return the cells of a row."""
    rate, others, count, latency, change = WEATHER[name]
    with upstreams(count, latency) as ups:
        urls = {f"x{n}": upstream.url for n, upstream in enumerate(ups)}
        rates = [load.Rate(f"/call/{name}", rate / count) for name in urls]
        rates += [load.Rate("/other", others)] if others else []
        with instance(kind, WITH, urls) as (port, server):
            if name in LEARN:
                with load.Load(port, [load.Rate("/call/x0", rate / 4)], 20, LEARN[name]):
                    time.sleep(LEARN[name])
            before, after = (0.0, 0.0) if name.startswith("well") else (3.0, 8.0)
            with load.Load(port, rates, patience=PATIENCE, seconds=600) as traffic:
                time.sleep(before + 5)
                begin = time.monotonic()
                worker = threading.Thread(target=change, args=(ups, seconds))
                worker.start()
                worker.join()
                for upstream in ups:
                    upstream.take(latency)
                end = time.monotonic()
                time.sleep(after)
                traffic.stop()
            found = Outage(traffic.answers, begin, end)
            refused, ended = counts(server.pid)
    other = found.good("/other", begin + 2, end) if others else ""
    called = found.good("/call", end + 1.5, end + 60) if after else ""
    return [name, f"{rate:g}", other, called, str(refused), str(ended)]


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--kind", default="uwsgi 8 x 1")
    arguments.add_argument("--seconds", type=float, default=20.0)
    asked = arguments.parse_args()
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|")
    for name in asked.names or WEATHER:
        print("|", " | ".join(run(name, asked.kind, asked.seconds)), "|", flush=True)


if __name__ == "__main__":
    main()
