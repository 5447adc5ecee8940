"""An upstream hangs, and something else goes wrong, too: nothing may leak, and nobody stay limited.

    python -m bench.bulkhead.faults [part of a name] [--kills 1000]

8 processes behind nginx, 20 calls/s of an upstream and 10/s of other views. The upstream hangs after
5 s; then comes the fault; when that is over, and 8 s later, the upstream answers again. "Left" is
what is there 20 s after the last request: marks of calls in the scoreboard, limited upstreams.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping

from lab.measuring import load
from lab.processes import wait_until
from resilient_wsgi.bulkhead.state import limited_in
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.shm import finding, instance as shared
from resilient_wsgi.shm.layout import MAGIC, NAME
from resilient_wsgi.shm.snapshot import NotAScoreboard, Snapshot

from .instances import WITH, Outage, instance
from .weather import HUNG, Upstream

HEAD = ("fault", "other views good", "callers good after", "left", "errors", "what was seen")
RATES = (load.Rate("/call/x", 20), load.Rate("/other", 10))
Fault = Callable[[Any, argparse.Namespace], str]


def nothing(_server: Any, _asked: argparse.Namespace) -> str:
    """The fault is there from the beginning."""
    time.sleep(8)
    return ""


def kill_workers(server: Any, asked: argparse.Namespace) -> str:
    """Kill workers that wait for the upstream, one after the other."""
    kills = 0
    while kills < asked.kills:
        workers = set(server.workers())
        with Snapshot.of_process(server.pid) as seen:
            waiting = {row.pid for row in seen.rows if any(_marks(seen, row.index))}
        if workers & waiting:
            os.kill(random.choice(list(workers & waiting)), signal.SIGKILL)
            kills += 1
        time.sleep(0.1)
    return f"{kills} killed, each with a call"


def kill_master(server: Any, _asked: argparse.Namespace) -> str:
    """Kill the master, then its workers: what the next instance to start finds, it removes."""
    folder = Path(finding.find(server.pid).path)
    for pid in (server.pid, *server.workers()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, 0)
    time.sleep(1)
    shared.sweep()
    return "its files are left" if folder.exists() else "its files are gone"


def reload(server: Any, _asked: argparse.Namespace) -> str:
    """Reload the instance."""
    server.signal(signal.SIGHUP)
    time.sleep(8)
    return ""


def stop(workers: int, seconds: float) -> Fault:
    """Return what stops so many workers for a while."""

    def fault(server: Any, _asked: argparse.Namespace) -> str:
        pids = server.workers()[:workers]
        for number, pause in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0.0)):
            for pid in pids:
                os.kill(pid, number)
            time.sleep(pause)
        return ""

    return fault


def set_clock(_server: Any, asked: argparse.Namespace) -> str:
    """Set the host's clock forward and back."""
    for seconds in (3600, -3600, 0):
        asked.clock.write_text(f"{seconds:>10}")
        time.sleep(4)
    return ""


def other_version(server: Any, asked: argparse.Namespace) -> str:
    """Reload the instance onto a scoreboard of another version."""
    directory = finding.find(server.pid)
    fd = os.open(f"/proc/self/fd/{directory.fd}/{NAME}", os.O_RDWR)
    os.pwrite(fd, (99).to_bytes(2, "little"), len(MAGIC))
    os.close(fd)
    return reload(server, asked)


@dataclass
class Scene:
    """A fault, and what has to be set up for it."""

    fault: Fault
    options: Mapping[str, Any] = field(default_factory=dict)


SCENES: Dict[str, Scene] = {
    "no fault": Scene(nothing),
    "workers killed": Scene(kill_workers),
    "a worker stopped for 8 s": Scene(stop(1, 8)),
    "all workers stopped for 6 s": Scene(stop(8, 6)),
    "the host's clock is set": Scene(set_clock, {"import": "bench.overload.set_clock"}),
    "/dev/shm is full": Scene(
        nothing, {"shared-import": ["bench.bulkhead.no_room", "resilient_wsgi.uwsgi"]}
    ),
    "no shared memory at all": Scene(
        nothing, {"shared-import": ["bench.overload.no_room", "resilient_wsgi.uwsgi"]}
    ),
    "a reload": Scene(reload),
    "a reload, onto a scoreboard of another version": Scene(other_version),
    "the master killed": Scene(kill_master),
}


def _marks(seen: Snapshot, index: int) -> List[int]:
    return list(seen._waits(index)[0])  # noqa: SLF001 - not what requests say: the marks themselves


def left(pid: int) -> str:
    """Return what is left in the scoreboard once no request runs any more."""

    def found() -> List[str]:
        with Snapshot.of_process(pid) as seen:
            marks = sum(bool(n) for row in seen.rows for n in _marks(seen, row.index))
            limited = [each.name for each in limited_in(seen)]
        return [*([f"{marks} marks"] if marks else []), *limited]

    try:
        wait_until(lambda: not found(), 20)
        return ", ".join(found()) or "nothing"
    except (FileNotFoundError, ProcessLookupError, Unavailable, NotAScoreboard) as error:
        return f"no scoreboard: {type(error).__name__}"


def run(name: str, scene: Scene, asked: argparse.Namespace) -> List[str]:
    """Return the cells of a row."""
    env = {"BENCH_CLOCK": str(asked.clock)}
    with (
        Upstream() as upstream,
        instance("uwsgi 8 x 1", WITH, {"x": upstream.url}, env, scene.options) as (port, server),
        load.Load(port, RATES, patience=10, seconds=3600) as traffic,
    ):
        time.sleep(5)
        upstream.take(HUNG)
        hang = time.monotonic()
        seen = scene.fault(server, asked)
        time.sleep(8)
        upstream.take(0.01)
        recover = time.monotonic()
        time.sleep(10)
        traffic.stop()
        found = Outage(traffic.answers, hang, recover)
        remains = left(server.pid)
        log = server.log()
    errors = log.count("[RW006]") + log.count("Traceback")
    return [
        name, found.good("/other", hang + 2, recover), found.good("/call", recover + 3, recover + 60),
        remains, str(errors), seen or ("[RW113]" if "[RW113]" in log else ""),
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("part", nargs="?", default="")
    arguments.add_argument("--kills", type=int, default=1000)
    asked = arguments.parse_args()
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|")
    with tempfile.TemporaryDirectory() as folder:
        asked.clock = Path(folder, "clock")
        asked.clock.write_text(f"{0:>10}")
        for name, scene in SCENES.items():
            if asked.part in name:
                print("|", " | ".join(run(name, scene, asked)), "|", flush=True)


if __name__ == "__main__":
    main()
