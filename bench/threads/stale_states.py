"""Workers whose master had threads when it forked them: whether anything that looks at frames ends
one, by kind of thread and look.

python -m bench.threads.stale_states                  the whole table, as Markdown (about 6 minutes for each CPython)
python -m bench.threads.stale_states --unrepaired     the same with the stale thread states left where they are
python -m bench.threads.stale_states --only 'gevent|mounts' --rounds 6
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Set

from bench import ROOT, report
from lab.measuring import load
from lab.processes import Server, wait_until
from resilient_wsgi.cli import worker_stacks
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.shm import instance

KINDS = ("thread", "executor", "timer", "lock", "deep")
LOOKS = ("watchdog", "stacks", "exit", "gil", "fuse")
ALL = " ".join(KINDS)
PATIENCE = 12.0
APP = "bench.threads.stale_states_app"

COMMON: Dict[str, object] = {
    "forkbomb-delay": 0,
    "processes": 2,
    "threads": 3,
    "enable-threads": True,
    "master": True,
    "disable-logging": True,
    "pythonpath": str(ROOT),
    "worker-reload-mercy": 8,
    "listen": 100,
}
HOOKS: Dict[str, object] = {
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}
LOAD: Dict[str, object] = {"module": APP}
LAZY: Dict[str, object] = {"lazy-apps": True}
MODES: Dict[str, Dict[str, object]] = {
    "app only": {**LOAD},
    "lazy-apps": {**LOAD, **LAZY, **HOOKS, "shared-import": ["resilient_wsgi.uwsgi", APP]},
    "lazy-apps, threads before the library": {**LOAD, **LAZY},
    "gevent": {**LOAD, **HOOKS, "gevent": 50, "gevent-monkey-patch": True, "threads": 1},
    "mules and spooler": {**LOAD, **HOOKS, "mules": 2, "spooler": "spool", "spooler-processes": 2},
    "several mounts": {
        **HOOKS,
        "mount": [f"/one={APP}:application", f"/two={APP}:application"],
        "manage-script-name": True,
    },
    "no master": {**LOAD, "master": False},
    "offload, evil-reload": {**LOAD, **HOOKS, "offload-threads": 2, "evil-reload-on-rss": 4000},
}
ENVIRONMENT = {
    "watchdog": {"REQUEST_SLOW_AFTER": "0.2"},
    "stacks": {},
    "exit": {"THREADS_GRACE": "0.2"},
    "gil": {"REQUEST_GIL_TIMEOUT": "1.5"},
    "fuse": {"THREADS_EXIT_TIMEOUT": "3"},
    "all": {"REQUEST_SLOW_AFTER": "0.2", "THREADS_GRACE": "0.2"},
}


@dataclass
class Result:
    """What became of the workers of one server."""

    lives: Set[int] = field(default_factory=set)
    crashed: Set[int] = field(default_factory=set)
    ended: Set[int] = field(default_factory=set)
    ran_atexit: Set[int] = field(default_factory=set)
    mercy: int = 0
    early: int = 0
    failed: int = 0
    requests: int = 0
    looked: int = 0

    def __str__(self) -> str:
        text = f"{len(self.crashed)}/{len(self.lives)}"
        return f"{text}, atexit {len(self.ran_atexit & self.ended)}/{len(self.ended)}, looks {self.looked}"


class Scene:
    """One server, its workers asked, looked at and replaced in rounds."""

    def __init__(self, server: Server, look: str, marks: Path) -> None:
        self.server = server
        self.look = look
        self.marks = marks
        self.result = Result()
        mounts = "mount" in server.options
        self.prefixes = ("/one", "/two") if mounts else ("",)

    def run(self, rounds: int) -> Result:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(rounds):
                self.ask(pool, "/churn", 6)
                looking = self.look
                if looking in ("watchdog", "all"):
                    self.ask(pool, "/slow", 3)
                if looking in ("stacks", "all"):
                    self.ask_stacks()
                if looking in ("exit", "all"):
                    self.ask(pool, "/leave", 12)
                self.replace(pool)
        time.sleep(0.3)
        return self.count()

    def ask(self, pool: ThreadPoolExecutor, path: str, times: int) -> None:
        paths = [prefix + path for prefix, _ in zip(itertools.cycle(self.prefixes), range(times))]
        answers = list(pool.map(lambda path: load.get(self.server.port, path, 20.0), paths))
        self.result.requests += len(answers)
        self.result.failed += sum(not answer.good for answer in answers)

    def ask_stacks(self) -> None:
        for _ in range(4):
            try:
                directory = instance.find(self.server.pid)
            except (OSError, Unavailable):
                return
            names = directory.names()
            workers = [worker_stacks.Worker(pid, directory, names) for pid in self.server.workers()]
            workers = [worker for worker in workers if worker.serves]
            worker_stacks.ask(workers)

    def replace(self, pool: ThreadPoolExecutor) -> None:
        old = set(self.server.workers())
        if self.look == "gil":
            for _ in old:
                pool.submit(load.get, self.server.port, "/gil", 6.0)
                time.sleep(0.05)
        for pid in old if self.look != "gil" and self.server.options["master"] else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
        if not self.server.options["master"]:  # its workers are not replaced
            return
        wait_until(lambda: not old & set(self.server.workers()), PATIENCE)
        self.result.ended |= old - set(self.server.workers())
        wait_until(lambda: load.get(self.server.port, self.prefixes[0] + "/", 5.0).good, PATIENCE)

    def count(self) -> Result:
        log, result = self.server.log(), self.result
        spawned = r"(?:pid: |new pid: |with pid )(\d+)"
        spawns = re.findall(
            rf"(?m)^(?:spawned|Respawned) .*(?:worker|mule|spooler).*?{spawned}", log
        )
        result.lives = {int(pid) for pid in spawns}
        result.crashed = {
            int(pid) for pid in re.findall(r"uWSGI process (\d+) got Segmentation Fault", log)
        }
        for pid, number in re.findall(r"\(pid: (\d+)\) died, killed by signal (\d+)", log):
            if number == str(int(signal.SIGKILL)):
                result.mercy += 1
            elif number == str(int(signal.SIGHUP)):
                result.early += 1  # ours came before uWSGI had its handler in a new worker
            else:
                result.crashed.add(int(pid))
        marks = self.marks.read_text() if self.marks.exists() else ""
        lines = [line.split() for line in marks.splitlines()]
        result.ran_atexit = {int(pid) for word, pid in lines if word == "atexit"}
        result.looked = sum(word == "look" for word, _ in lines) + log.count("Timeout (0:00:01.5")
        # what the guard of the GIL writes is told by the next worker
        result.looked += len(re.findall(r"was killed in GET \S*/gil", log))
        return result


def run(
    kinds: str, look: str, options: Dict[str, object], arguments: argparse.Namespace, name: str = ""
) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="stale-"))
    (folder / "spool").mkdir()
    chosen: Dict[str, Any] = {**COMMON, **options}
    if "spooler" in chosen:
        chosen["spooler"] = str(folder / "spool")
    environment = {f"RESILIENT_WSGI_{key}": value for key, value in ENVIRONMENT[look].items()}
    environment.update(STALE_KIND=kinds, STALE_MARKS=str(folder / "marks"))
    if look == "fuse":
        environment["STALE_HANG"] = "1"
    if arguments.unrepaired:
        environment["STALE_UNREPAIRED"] = "1"
    with Server(
        chosen, env=environment, ready="spawned uWSGI worker|WSGI app 0", ready_count=1
    ) as server:
        scene = Scene(server, look, folder / "marks")
        result = scene.run(arguments.rounds)
        if arguments.logs:
            (
                Path(arguments.logs)
                / f"{kinds.replace(' ', '_')}-{look}-{name.replace(' ', '_')}.log"
            ).write_text(server.log())
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unrepaired", action="store_true")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--only", default="", help="a regular expression: cells `KIND LOOK` and modes by name"
    )
    parser.add_argument("--logs", default="", help="a folder for the servers' logs")
    arguments = parser.parse_args()
    print(
        f"{report.machine('uwsgi')}; "
        f"{'states left' if arguments.unrepaired else 'states taken out'}\n"
    )
    total: List[Result] = []
    print("| threads at import | " + " | ".join(LOOKS) + " |\n|" + " --- |" * (len(LOOKS) + 1))
    for kind in KINDS:
        row = []
        for look in LOOKS:
            if not re.search(arguments.only, f"{kind} {look}"):
                row.append("-")
                continue
            total.append(run(kind, look, {**LOAD, **HOOKS}, arguments))
            row.append(str(total[-1]))
        print(f"| {kind} | " + " | ".join(row) + " |", flush=True)
    print("\n| all of these, and | crashed/lives, atexit run/ended, looks |\n| --- | --- |")
    for name, options in MODES.items():
        if re.search(arguments.only, name):
            total.append(run(ALL, "all", options, arguments, name))
            print(f"| {name} | {total[-1]} |", flush=True)
    lives, crashed = (
        sum(len(each.lives) for each in total),
        sum(len(each.crashed) for each in total),
    )
    failed, requests = sum(each.failed for each in total), sum(each.requests for each in total)
    mercy, early = sum(each.mercy for each in total), sum(each.early for each in total)
    print(f"\n{crashed} of {lives} lives crashed; {failed} of {requests} requests failed;", end=" ")
    print(
        f"{mercy} killed by SIGKILL, {early} by our SIGHUP before uWSGI had its handler", flush=True
    )
    return 1 if crashed and not arguments.unrepaired else 0


if __name__ == "__main__":
    sys.exit(main())
