"""Upstreams that are slow, that flap, that hang in twos, and that are well, on a real server.

    python -m bench.bulkhead.weather [NAME ...] [--kind "uwsgi 8 x 1"] [--variants without,with]

Refused and ended are the counts of the instance itself; where upstreams are well both must be 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from lab.measuring import load
from lab.processes.base import free_port
from resilient_wsgi.bulkhead.state import Limit
from resilient_wsgi.shm.layout import upstream_at
from resilient_wsgi.shm.snapshot import Snapshot

from .instances import GOOD, PATIENCE, WITH, WITHOUT, Outage, instance

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HUNG = 1e6
HEAD = (
    "weather",
    "calls/s",
    "library",
    "other views good",
    "callers good after",
    "refused",
    "ended",
)


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


Change = Callable[[Sequence[Upstream], float, Any], None]


def _slow(seconds: float, first: Optional[int] = None) -> Change:
    def change(upstreams: Sequence[Upstream], lasts: float, _server: Any) -> None:
        for upstream in upstreams[:first]:
            upstream.take(seconds)
        time.sleep(lasts)

    return change


def _flap(upstreams: Sequence[Upstream], lasts: float, _server: Any) -> None:
    end = time.monotonic() + lasts
    while time.monotonic() < end:
        for seconds in (HUNG, 0.01):
            upstreams[0].take(seconds)
            time.sleep(3)


def _pauses(upstreams: Sequence[Upstream], lasts: float, _server: Any) -> None:
    end = time.monotonic() + lasts
    while time.monotonic() < end:
        time.sleep(9.2)
        upstreams[0].take(0.8)
        time.sleep(0.8)
        upstreams[0].take(0.01)


def _well(_upstreams: Sequence[Upstream], lasts: float, _server: Any) -> None:
    time.sleep(lasts)


def _double(_upstreams: Sequence[Upstream], lasts: float, server: Any) -> None:
    """Start as many workers again."""
    for _ in range(len(server.workers())):
        fd = os.open(server.directory / "fifo", os.O_WRONLY)
        os.write(fd, b"+")
        os.close(fd)
        time.sleep(0.3)
    time.sleep(lasts)


def _hang_and_double(upstreams: Sequence[Upstream], lasts: float, server: Any) -> None:
    upstreams[0].take(HUNG)
    _double(upstreams, lasts, server)


@dataclass(frozen=True)
class Weather:
    """Calls and other requests a second, and what becomes of the upstreams.

    `ill`: whether calls may be refused. `learn`: for how long a quarter of the calls come before.
    `other` is the path of the other requests, `call` is added to that of the calls. `lasts`: the
    shortest time that shows something. `slow`: any answer is a good one of the callers.
    """

    calls: float
    others: float
    change: Change
    upstreams: int = 1
    latency: float = 0.01
    ill: bool = True
    learn: float = 0.0
    other: str = "/other"
    call: str = ""
    lasts: float = 0.0
    slow: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_DOUBLES = {"processes": 16, "cheaper": 8, "cheaper-algo": "manual", "master-fifo": "%dfifo"}
WEATHER: Dict[str, Weather] = {
    "two hang": Weather(20, 20, _slow(HUNG), 2),
    "one of three sidecars hangs": Weather(15, 20, _slow(HUNG, 1), 3),
    "hangs, the others need 85 %": Weather(10, 34, _slow(HUNG), other="/other/0.2"),
    "hangs, workers double": Weather(10, 20, _hang_and_double, options=_DOUBLES),
    "flapping every 3 s": Weather(10, 20, _flap),
    "brownout to 3 s": Weather(10, 20, _slow(3.0)),
    "brownout to 300 ms": Weather(40, 20, _slow(0.3)),
    "to 2 s for good": Weather(3, 10, _slow(2.0), lasts=120.0, slow=True),
    "well: 2x saturation": Weather(160, 0, _well, latency=0.1, ill=False),
    "well: pauses of 0.8 s": Weather(100, 0, _pauses, ill=False),
    "well: workers double": Weather(70, 0, _double, latency=0.1, ill=False, options=_DOUBLES),
    "well: always 8 s, pool full, cold": Weather(2, 0, _well, latency=8.0, ill=False),
    "well: always 8 s, pool full": Weather(2, 0, _well, latency=8.0, ill=False, learn=45.0),
    "well: always 20 s, own timeout 60 s, pool full, cold": Weather(
        0.8, 1, _well, latency=20.0, ill=False, call="/GET/60", lasts=60.0
    ),
}


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


def run(name: str, kind: str, variant: str, seconds: float) -> List[Any]:
    """Return the cells of a row."""
    weather = WEATHER[name]
    seconds = max(seconds, weather.lasts)
    with upstreams(weather.upstreams, weather.latency) as ups:
        urls = {f"x{n}": upstream.url for n, upstream in enumerate(ups)}
        share = weather.calls / len(ups)
        rates = [load.Rate(f"/call/{each}{weather.call}", share) for each in urls]
        rates += [load.Rate(weather.other, weather.others)] if weather.others else []
        with instance(kind, variant, urls, options=weather.options) as (port, server):
            if weather.learn:
                few = [load.Rate("/call/x0", weather.calls / 4)]
                with load.Load(port, few, 20, weather.learn):
                    time.sleep(weather.learn)
            found = _measured(port, server, rates, weather, ups, seconds)
            refused, ended = ("", "") if variant == WITHOUT else counts(server.pid)
    begin, end, good = found.hang, found.recover, 60.0 if weather.slow else GOOD
    other = found.good("/other", begin + 2, end) if weather.others else ""
    after = (end - 20, end) if weather.slow else (end + 1.5, end + 60)
    called = found.good("/call", *after, good) if weather.ill else ""
    return [name, f"{weather.calls:g}", variant, other, called, refused, ended]


def _measured(
    port: int, server: Any, rates: Any, weather: Weather, ups: Sequence[Upstream], seconds: float
) -> Outage:
    with load.Load(port, rates, patience=PATIENCE, seconds=600) as traffic:
        time.sleep(8.0 if weather.ill else 5.0)
        begin = time.monotonic()
        weather.change(ups, seconds, server)
        end = time.monotonic()
        for upstream in ups if not weather.slow else ():
            upstream.take(weather.latency)
        time.sleep(8.0 if weather.ill and not weather.slow else 0.0)
        traffic.stop()
    return Outage(traffic.answers, begin, end)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--kind", default="uwsgi 8 x 1")
    arguments.add_argument("--variants", default=f"{WITHOUT},{WITH}")
    arguments.add_argument("--seconds", type=float, default=20.0)
    asked = arguments.parse_args()
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|")
    for name in asked.names or WEATHER:
        for variant in asked.variants.split(","):
            cells = map(str, run(name, asked.kind, variant, asked.seconds))
            print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
