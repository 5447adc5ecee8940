"""Long runs: a million requests at half and at nine tenths of the capacity, a thousand workers that
are killed, clocks that are set, a scoreboard that cannot be had.

`python -m bench.overload.soak [part of a name] [how much of it, 1.0]`; uWSGI behind a UNIX socket,
without a router.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Callable, Dict, Iterator, List, Tuple

from bench.overload.cells import COMMON, PROTECTED
from bench.overload.crowd import Client, Crowd
from bench.report import machine
from lab.incidents.overload import TARGET
from lab.processes import Server
from lab.processes.uwsgi import Option
from resilient_wsgi.overload.seen import Seen
from resilient_wsgi.shm.snapshot import Snapshot

MILLION = 1_000_000
FASTEST = 1600  # requests a second, which leave most of two processors idle
OURS = "resilient_wsgi.uwsgi"
STEPS = (0, 1, 30, 3600, -3600, -30, -1, 0.2, -0.2)


@contextlib.contextmanager
def serving(env: Dict[str, str | None], **more: Option) -> Iterator[Server]:
    """Run uWSGI."""
    app: Dict[str, Option] = {"module": "bench.overload.overload_app:protected"}
    options = {
        name: value for name, value in {**COMMON, **PROTECTED, **app, **more}.items() if value
    }
    with Server(options, listen_on="http-unix", env=env) as server:
        yield server


def ordinary(mean: float, patience: float) -> Callable[[Random], Client]:
    """Return clients whose requests take `mean` seconds, exponentially; one in 50 hangs up with a
    letter typed.
    """

    def client(random: Random) -> Client:
        path = f"/sleep/{random.expovariate(1 / mean):.4f}"
        return Client(path, 0.03, True) if random.random() < 0.02 else Client(path, patience)

    return client


def row(name: str, crowd: Crowd, more: str = "") -> str:
    """Return a line of the table."""
    answers = crowd.answers
    asked, good, shed = sum(answers.values()), answers["200"], answers["503"]
    rest = {what: count for what, count in answers.items() if what not in ("200", "503")}
    other = ", ".join(f"{what}: {count}" for what, count in sorted(rest.items()))
    return f"| {name} | {asked} | {good / asked:.3%} | {shed} ({shed / asked:.3%}) | {other} | {more} |"


def traffic(share: float, much: float) -> str:
    """Ask at a share of the capacity, a million times."""
    mean = 32 * share / FASTEST
    with serving({}, processes=2, threads=16) as server:
        crowd = Crowd(server.socket_path, ordinary(mean, 2.0), 1)
        crowd.ask(int(MILLION * much), FASTEST)
        tolerated = seen(server).tolerated
    return row(f"{share:g} of the capacity", crowd, f"tolerated: {tolerated}")


def kills(share: float, much: float, patience: float = 2.0) -> str:
    """Kill a worker four times a second; uWSGI replaces those that are gone once a second. Clients
    that wait for a minute show what can be done at all then.
    """
    with serving({}, processes=16) as server:
        capacity, random, count = 16 / 0.05, Random(3), 0
        begin = time.monotonic()
        end = begin + 300 * much
        crowd = Crowd(server.socket_path, ordinary(0.05, patience), 2)
        asking = threading.Thread(target=crowd.ask, args=(10**9, share * capacity, end))
        asking.start()
        while time.monotonic() < end:
            time.sleep(max(0.0, begin + 0.25 * (count + 1) - time.monotonic()))
            with contextlib.suppress(IndexError, ProcessLookupError):
                os.kill(random.choice(server.workers()), signal.SIGKILL)
            count += 1
        asking.join()
        time.sleep(3)
        after = Crowd(server.socket_path, ordinary(0.05, 10.0), 4)
        after.ask(1000, capacity / 2)
    good = crowd.answers["200"] / (end - begin) / capacity
    more = f"{count} killed; {good:.0%} of the capacity; then {dict(after.answers)}"
    return row(f"workers are killed at {share:g} x, patience {patience:g} s", crowd, more)


def clock_steps(much: float) -> str:
    """Set the clock of the host again and again, where a router's header tells the wait."""
    with tempfile.NamedTemporaryFile() as clock:
        env: Dict[str, str | None] = {**TARGET, "BENCH_CLOCK": clock.name}
        shared = ["bench.overload.set_clock", OURS]
        with serving(env, processes=4, **{"shared-import": shared}) as server:
            crowd = Crowd(server.socket_path, ordinary(0.05, 10.0), 5, stamped=True)
            asking = threading.Thread(target=crowd.ask, args=(int(18000 * much), 72.0))
            asking.start()
            count = 0
            while asking.is_alive():
                Path(clock.name).write_text(f"{STEPS[count % len(STEPS)]:<10}")
                count += 1
                asking.join(5)
    return row(f"the clock is set {count} times, 0.9 of the capacity", crowd)


def no_scoreboard(much: float) -> str:
    """Run where there is no room for what processes share: in the master, which has memory for its
    workers nevertheless, and in workers that load the app.
    """
    rows = []
    for name, more in (("in the master", [OURS]), ("in workers", [])):
        shared = ["bench.overload.no_room", *more]
        options: Dict[str, Option] = {"shared-import": shared, "lazy-apps": not more}
        if not more:
            options["hook-accepting"] = ""
        for share in (0.5, 2.0):
            with serving({}, processes=4, **options) as server:
                crowd = Crowd(server.socket_path, ordinary(0.05, 2.0), 6)
                crowd.ask(int(4800 * much), share * 80)
                assert server.alive()
            rows.append(row(f"no room {name}, {share:g} x", crowd))
    return "\n".join(rows)


def seen(server: Server) -> Seen:
    """Return what the instance knows of its queue."""
    with Snapshot.of_process(server.pid) as snapshot:
        return Seen.of(snapshot, 0, time.monotonic())


RUNS: List[Tuple[str, Callable[[float], str]]] = [
    ("traffic at 0.5", lambda much: traffic(0.5, much)),
    ("traffic at 0.9", lambda much: traffic(0.9, much)),
    ("kills at 0.5", lambda much: kills(0.5, much)),
    ("kills at 2", lambda much: kills(2.0, much)),
    ("kills at 2 x, patient", lambda much: kills(2.0, much / 10, 60.0)),
    ("clock steps", clock_steps),
    ("no scoreboard", no_scoreboard),
]


def main(part: str = "", much: str = "1") -> None:
    """Print the table."""
    print(machine("uwsgi"), "\n")
    print("| | wanted an answer | 200 | shed | otherwise | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, run in RUNS:
        if part in name:
            print(run(float(much)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
