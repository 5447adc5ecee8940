"""Reload again and again under load: requests that fail, and what the master gains.

python -m bench.threads.reloads --reloads 200     about 11 minutes

wrk through nginx; for each way to reload two instances, all at the same time: one without
the library and without a background thread, one with the library and with a thread that is never
asked to stop. The code is 1 if the protected instance lost more requests than the other, needed
mercy, or its master has gained something (`GAIN_KIB`).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Callable, Dict, List

from bench.report import machine
from bench.threads.exits import gone, serves
from lab.processes import Nginx, Server, wait_until
from lab.processes.base import find_tool

PROCESSES = 2
CLIENTS = 8
SERVE_SECONDS = 0.1  # between two reloads
SETTLE = 3  # reloads before the master is measured for the first time
# what the master's memory may gain between the first and the last fifth of the reloads, by their
# medians. They lie 160 of 200 reloads apart: a leak of 2.5 KiB in each is seen. Descriptors and
# threads may gain nothing. PSS is judged beside the run without the library, because pages of the program's files count
# for more as soon as fewer instances run
GAIN_KIB = 400
APP = """
import threading, time
def loop():
    while True:
        time.sleep(10)
if %r:
    threading.Thread(target=loop, name="stubborn").start()
def application(environ, start_response):
    time.sleep(0.005)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def _hang_up(server: Server) -> None:
    server.signal(signal.SIGHUP)


def _workers_only(server: Server) -> None:
    (server.directory / "fifo").write_text("w")


@dataclass(frozen=True)
class Way:
    """A way to reload.

    After SIGHUP the master executes itself again; a reload of the workers alone leaves it as it is.
    """

    mode: str
    reload: Callable[[Server], None]


WAYS: Dict[str, Way] = {
    "prefork": Way("prefork", _hang_up),
    "workers": Way("lazy-apps", _workers_only),
    "lazy-apps": Way("lazy-apps", _hang_up),
}


@dataclass(frozen=True)
class Master:
    """What the master has after a reload; memory in KiB."""

    descriptors: int
    threads: int
    resident: int
    proportional: int

    @classmethod
    def of(cls, pid: int) -> Master:
        """Look at a process."""
        status, rollup = (
            Path(f"/proc/{pid}/{name}").read_text() for name in ("status", "smaps_rollup")
        )
        return cls(
            len(os.listdir(f"/proc/{pid}/fd")),
            _number("Threads", status),
            _number("VmRSS", status),
            _number("Pss", rollup),
        )


def _number(key: str, text: str) -> int:
    return int(re.search(rf"^{key}:\s*(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]


@dataclass
class Run:
    """One instance: its reloads, its requests, and its master after each reload."""

    protected: bool
    way: str
    seconds: List[float] = field(default_factory=list)
    masters: List[Master] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    no_mercy: int = 0

    def gain(self, what: Callable[[Master], int]) -> int:
        """Return by how much the median of the last fifth of the reloads is above that of the
        first.
        """
        values = [what(master) for master in self.masters]
        fifth = max(1, len(values) // 5)
        return round(statistics.median(values[-fifth:]) - statistics.median(values[:fifth]))

    def __str__(self) -> str:
        """As it stands in the table."""
        columns: List[object] = [
            "with, with a thread" if self.protected else "without, no thread",
            self.way,
            len(self.seconds),
            f"{statistics.median(self.seconds):.2f} / {max(self.seconds):.2f}",
            self.requests,
            self.failed,
            self.no_mercy,
            self._range(attrgetter("descriptors")),
            self._range(attrgetter("threads")),
            f"{self._range(attrgetter('resident'))}: {self.gain(attrgetter('resident')):+}",
            f"{self._range(attrgetter('proportional'))}: {self.gain(attrgetter('proportional')):+}",
        ]
        return "| " + " | ".join(map(str, columns)) + " |"

    def _range(self, what: Callable[[Master], int]) -> str:
        values = [what(master) for master in self.masters]
        return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"

    def wrong(self, unprotected: Run) -> List[str]:
        """Return what a protected run must not do, seen beside the unprotected one of the same time."""
        found = (
            []
            if self.failed <= unprotected.failed
            else [f"{self.failed} requests failed, without the library {unprotected.failed}"]
        )
        found += ["NO MERCY"] if self.no_mercy else []
        for name, limit in (("descriptors", 0), ("threads", 0), ("resident", GAIN_KIB)):
            gained = self.gain(attrgetter(name))
            found += [f"the master gained {gained} ({name})"] if gained > limit else []
        beyond = self.gain(attrgetter("proportional")) - unprotected.gain(
            attrgetter("proportional")
        )
        found += (
            [f"the master's PSS gained {beyond} KiB more than without the library"]
            if beyond > GAIN_KIB
            else []
        )
        return found


def reload(server: Server, way: Way) -> float:
    """Reload once; return how long it took until all new workers served."""
    old = set(server.workers())
    begin = time.monotonic()
    way.reload(server)

    def fresh() -> List[int]:
        return [pid for pid in server.workers() if pid not in old]

    if not wait_until(lambda: all(gone(pid) for pid in old), 30):
        raise server.error("still has old workers")
    if not wait_until(
        lambda: len(fresh()) == PROCESSES and all(serves(pid) for pid in fresh()), 30
    ):
        raise server.error("has no new workers")
    return time.monotonic() - begin


def go(run: Run, reloads: int) -> Run:
    """Start an instance, reload it under load, and note what became of it."""
    with tempfile.TemporaryDirectory(prefix="reloads-") as name, ExitStack() as stack:
        Path(name, "app.py").write_text(APP % run.protected)
        options: Dict[str, Any] = {
            "master": True, "processes": PROCESSES, "threads": 2, "enable-threads": True,
            "listen": 100,
            "wsgi-file": f"{name}/app.py", "disable-logging": True, "worker-reload-mercy": 30,
            "master-fifo": "fifo",
        }  # fmt: skip
        way = WAYS[run.way]
        if way.mode == "lazy-apps":
            options["lazy-apps"] = True
        if run.protected:
            options["shared-import"] = "resilient_wsgi.uwsgi"
        server = stack.enter_context(
            Server(options, listen_on="unix", env={"PYTHONPATH": os.getcwd()})
        )
        nginx = stack.enter_context(Nginx([server.socket_path]))
        if not wait_until(lambda: all(serves(pid) for pid in server.workers()), 10):
            raise server.error("does not serve")
        _load(run, server, nginx, reloads)
    return run


def _load(run: Run, server: Server, nginx: Nginx, reloads: int) -> None:
    url = f"http://127.0.0.1:{nginx.port}/"
    command = [find_tool("wrk"), "-t1", f"-c{CLIENTS}", "-d1200s", "--timeout", "20s", url]
    wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for number in range(reloads):
            time.sleep(SERVE_SECONDS)
            run.seconds.append(reload(server, WAYS[run.way]))
            if number >= SETTLE:
                run.masters.append(Master.of(server.pid))
    finally:
        wrk.send_signal(signal.SIGINT)
        text = wrk.communicate(timeout=60)[0]
    run.requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    run.failed = sum(
        int(n) for n in re.findall(r"(?:read|write|connect|timeout|responses:) (\d+)", text)
    )
    run.no_mercy = server.log().count("NO MERCY")


def main() -> int:
    """Print the table, and what is wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are ended then, too
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--way", action="append", choices=list(WAYS))
    chosen = parser.parse_args()
    reloads = max(chosen.reloads, SETTLE + 1)
    print(f"{machine('uwsgi')}; memory in KiB: range, and median of the last fifth - first fifth\n")
    print(
        "| run | reload | reloads | median / longest, s | requests | failed | NO MERCY | master: "
        "fds | threads | RSS | PSS |"
    )
    print("|---" * 11 + "|")
    ways = chosen.way or list(WAYS)
    runs = [Run(protected, way) for way in ways for protected in (False, True)]
    # they wait for the master's clock nearly all of the time
    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda run: go(run, reloads), runs))
    print("\n".join(map(str, runs)))
    wrong = [
        each
        for unprotected, protected in zip(runs[::2], runs[1::2])
        for each in protected.wrong(unprotected)
    ]
    print("\n" + ("wrong: " + "; ".join(wrong) if wrong else "nothing wrong"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
