"""Traffic of which nothing must be shed, and a stall, on real servers at default settings.

`python -m bench.overload.harm [part of a name] [with what ...]`, as `cells` has it: nginx, uWSGI with 4 processes behind a UNIX
socket, 100 ms a request (40/s) unless said. Clients come at random. "Shed" counts the clients that
would have waited.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from random import Random
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from bench.overload.cells import DEFAULTS, Cell, serving
from bench.report import machine
from lab.measuring import load

# path, patience, whether it hangs up on purpose
Client = Tuple[str, float, bool]
SHORT = "/sleep/0.1"


class Scene(NamedTuple):
    """Requests a second from second to second, and who makes them."""

    rates: List[Tuple[float, float]]
    client: Callable[[Random], Client]
    retries: int = 0
    stall: Tuple[float, float] = (1e9, 1e9)
    shape: str = "processes"
    listen_on: str = "unix"


def mixed(
    share: float, hasty: float, patience: float = 20.0, path: str = SHORT
) -> Callable[[Random], Client]:
    """Return clients of whom a share hangs up on purpose."""

    def client(random: Random) -> Client:
        return (path, hasty, True) if random.random() < share else (path, patience, False)

    return client


def long_polls(random: Random) -> Client:
    """Return a client that polls for 5 s, or one that wants an answer."""
    return ("/sleep/5", 30.0, False) if random.random() < 0.04 else (SHORT, 20.0, False)


BURSTS = [step for t in range(5, 30, 5) for step in ((t - 0.3, 12.0), (t, 400.0))]
SCENES: Dict[str, Scene] = {
    "half of the capacity": Scene([(30, 20)], mixed(0, 0, 2.0)),
    "9/10 of the capacity": Scene([(30, 34)], mixed(0, 0, 10.0)),
    "bursts of 10 x for 0.3 s, patience 10 s": Scene(BURSTS, mixed(0, 0, 10.0)),
    "bursts out of nothing, patience 10 s": Scene(
        [(at, 0.001 if rate < 20 else rate) for at, rate in BURSTS], mixed(0, 0, 10.0)
    ),
    "batch clients that wait 60 s, 2 x": Scene([(15, 80), (40, 1)], mixed(0, 0, 60.0)),
    "40 % typeahead, hangs up after 50 ms, half": Scene([(30, 24)], mixed(0.4, 0.05)),
    "30 % hang up at once, 0.9": Scene([(30, 40)], mixed(0.3, 0.001)),
    "30 % hang up at once, 0.9, threads": Scene(
        [(30, 80)], mixed(0.3, 0.001), shape="threads", listen_on="uwsgi"
    ),
    "30 % hang up after 0.6 s, 0.9": Scene([(30, 36)], mixed(0.3, 0.6)),
    "long polls of 5 s, 0.6": Scene([(40, 8)], long_polls),
    "a stall of 3 s at 0.8, patience 2 s, 2 retries": Scene(
        [(30, 29)], mixed(0, 0, 2.0), retries=2, stall=(8, 11)
    ),
}  # fmt: skip


class Said(NamedTuple):
    """What became of a client: when it came, of which try the last answer was."""

    came: float
    purpose: bool
    statuses: List[str]


async def drive(address: Any, scene: Scene, stop: Callable[[int], None]) -> List[Said]:
    """Let clients come, and return what became of them."""
    random, begin, came = Random(1), time.monotonic(), 0.0
    clients: List[asyncio.Task[Said]] = []
    loop = asyncio.get_running_loop()
    for at, number in zip(scene.stall, (signal.SIGSTOP, signal.SIGCONT)):
        if at < 1e6:
            loop.call_later(at, stop, number)
    for until, rate in scene.rates:
        came = max(came, time.monotonic() - begin)
        while (came := came + random.expovariate(rate)) < until:
            await asyncio.sleep(begin + came - time.monotonic())
            clients.append(
                asyncio.ensure_future(_client(address, scene, scene.client(random), came, random))
            )
        came = until
    return list(await asyncio.gather(*clients))


async def _client(address: Any, scene: Scene, client: Client, came: float, random: Random) -> Said:
    path, patience, purpose = client
    statuses: List[str] = []
    for attempt in range(1 + scene.retries):
        answer = await load.fetch(address, path, patience)
        statuses.append(answer.status)
        if answer.good or purpose:
            break
        await asyncio.sleep(2**attempt * random.uniform(0.5, 1.5) if attempt < 2 else 0)
    return Said(came, purpose, statuses)


def run(scene: Scene, how: str = DEFAULTS) -> str:
    """Return the cells of a row."""
    cell = Cell(1, (1,), scene.shape, "0.1", scene.listen_on)
    pids: List[int] = []

    def stop(number: int) -> None:
        for pid in pids:
            os.kill(pid, number)

    with contextlib.ExitStack() as stack:
        runs = stack.enter_context(tempfile.NamedTemporaryFile())
        address = stack.enter_context(serving(cell, runs.name, how, found=pids.extend))
        load.burst(address, SHORT, 8, 10)
        said = asyncio.run(drive(address, scene, stop))
    people = [each for each in said if not each.purpose]
    tries = [status for each in people for status in each.statuses]
    good = sum(each.statuses[-1].startswith("2") for each in people)
    last = 0.0
    wake = scene.stall[1]
    for second in range(int(scene.rates[-1][0])):
        those = [each for each in people if second <= each.came < second + 1]
        if second >= wake and sum(e.statuses[-1] == "200" for e in those) < 0.9 * len(those):
            last = second + 1 - wake
    again = f"{last:.0f}" if wake < 1e6 else "-"
    return (
        f"{len(said)} | {good / max(1, len(people)):.1%} | "
        f"{tries.count('503')} ({tries.count('503') / max(1, len(tries)):.2%}) | {again}"
    )


def main(part: str = "", *hows: str) -> None:
    """Print the table."""
    print(machine("uwsgi"), "\n")
    print("| | | requests | answered in time | shed | good again after, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, scene in SCENES.items():
        for how in (hows or (DEFAULTS,)) if part in name else ():
            print(f"| {name} | {how} | {run(scene, how)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
