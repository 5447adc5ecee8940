"""Every way to name an app, every way its load can fail, in some workers or all, at start or at
respawn, once or for ever.

Each cell is an instance of uWSGI with four workers. Cells run side by side, so what they say of
time is said of a busy machine.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Dict, Iterator, List, Sequence, Tuple

from bench.readiness.cases import KINDS, NAMINGS, STARTUP_TIMEOUT, Instance, instance, options
from lab.measuring import load, procfs
from lab.processes import ProcessError, wait_until
from resilient_wsgi.readiness.states import SERVING

WORKERS, SOME = 4, 2
REQUESTS, CLIENTS = 60, 6
EVER_SECONDS = 4.0  # how long "for ever" is looked at before the cause is taken away
MAX_PAUSE = 2.0
ATTEMPTS = 2
LOAD_SECONDS = 0.1  # of this app: measured 0.02 to 0.07 s from the end of the pause until it serves
IDLE = 0.1  # of a processor: the master has come to work
JOBS = 4 * (os.cpu_count() or 1)
WAYS = [
    (who, when, often)
    for who in ("some", "all")
    for when in ("start", "respawn")
    for often in ("once", "for ever")
]


@dataclass(frozen=True)
class Cell:
    """One case and, once it has run, what became of it; `wrong` is empty if all that must hold did."""

    server: str  # "with", "without", "without, need-app"
    lazy: bool
    naming: str
    kind: str
    who: str = "all"
    when: str = "start"
    often: str = "for ever"
    answers: Dict[str, int] = field(default_factory=dict)
    fives: int = 0
    respawns: int = 0
    seconds: float | None = None  # from when the cause is gone until all serve
    bound: float = 0.0
    cpu: float = 0.0
    end: str = "runs"
    wrong: str = ""

    def refused(self) -> int:
        """Return how many requests got no 200."""
        return sum(count for status, count in self.answers.items() if status != "200")

    def row(self) -> Tuple[object, ...]:
        """Return it as a row of a table."""
        told = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        strong = "" if self.seconds is None else f"{self.seconds:.1f} of {self.bound:.1f} s"
        return (
            self.server, "lazy-apps" if self.lazy else "prefork", self.naming, self.kind,
            f"{self.who}, {self.when}, {self.often}", told, self.fives, self.respawns, strong,
            f"{self.cpu * 100:.0f} %",
            self.end, f"**NO**: {self.wrong}" if self.wrong else "yes",
        )  # fmt: skip


def cells() -> List[Cell]:
    """Return all that are run: those with the library in full, those without for an app named by
    `module`.
    """
    made = [
        Cell("with", True, naming, kind,
        *way) for naming in NAMINGS for kind in KINDS for way in WAYS
        if naming != "mount of a file" or way == WAYS[0]
    ]  # fmt: skip
    made += [Cell("with", False, naming, kind) for naming in NAMINGS for kind in KINDS]
    for server, kind in itertools.product(("without", "without, need-app"), KINDS):
        # it never tries again by itself: once is for ever
        made += [Cell(server, True, "module", kind, *way) for way in WAYS if way[2] == "once"]
        made += [Cell(server, False, "module", kind)] if kind != "hang" else []
    return made


def run_all(chosen: Sequence[Cell]) -> Iterator[Cell]:
    """Run cells side by side; yield them as they were given."""
    with ProcessPoolExecutor(JOBS, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(run, chosen)


def run(cell: Cell) -> Cell:
    """Run one cell."""
    for _ in range(3):
        try:
            return _run(cell)
        except ProcessError as error:  # noqa: PERF203 - three times
            if "ended with code" in str(error) and "in use" not in str(error):
                return _ended(cell, int(_found(r"ended with code (-?\d+)", str(error))), str(error))
            cause = str(error)[:60]  # another instance was quicker to take the port
    return replace(cell, wrong=f"did not start: {cause}")


def _run(cell: Cell) -> Cell:
    at_start, ever = cell.when == "start", cell.often == "for ever"
    count = SOME if cell.who == "some" else WORKERS
    env = {
        "RESILIENT_WSGI_READINESS_MAX_PAUSE": str(MAX_PAUSE),
        "RESILIENT_WSGI_READINESS_ATTEMPTS": str(ATTEMPTS if cell.who == "all" and ever else 50),
        **({"ONLY": "12"} if cell.who == "some" else {}),
    }
    chosen = options(
        cell.naming,
        lazy=cell.lazy,
        protected=cell.server == "with",
        need_app="need-app" in cell.server,
    )
    with instance(
        chosen, fail_first=cell.kind if at_start else "", loads=count, ever=ever,
        may_hang=cell.kind, env=env,
        ready="^spawned uWSGI worker" if at_start else "^WSGI app 0",
    ) as running:  # fmt: skip
        if not at_start:
            running.full_strength()
            if ever:
                running.fail_ever(cell.kind)
            else:
                running.fail_next(cell.kind, count)
            running.respawn(count)
        if cell.server != "with":
            return _unprotected(cell, running)
        if ever and at_start and cell.who == "all":
            wait_until(lambda: not running.server.alive(), 60)
            return _ended(cell, running.server.returncode, running.server.log())
        return _protected(cell, running, 0 if at_start else count)


def _ended(cell: Cell, code: int | None, log: str) -> Cell:
    fives = log.count("no python application found")
    wrong = [
        *(["does not end" if code is None else "ends as a success"] if code in (None, 0) else []),
        *(["500s"] if fives else []),
        *(["the master slept"] if "too fast" in log else []),
    ]
    told = "" if cell.server != "with" else ", ".join(wrong)
    return replace(
        cell, fives=fives, respawns=log.count("Respawned"), end=f"ends with {code}", wrong=told
    )


def _unprotected(cell: Cell, running: Instance) -> Cell:
    wait_until(
        lambda: (
            running.tokens_left() == 0 or cell.often == "for ever" or not running.server.alive()
        ),
        6,
    )
    time.sleep(1.5)  # for the master to see to it
    answers = load.closed_loop(
        running.server.port, "/", count=REQUESTS, clients=CLIENTS, patience=2.0
    )
    wait_until(lambda: not running.server.alive(), 1)
    told = load.by_status(answers)
    end = "runs" if running.server.alive() else f"ends with {running.server.returncode}"
    return replace(
        cell,
        answers=told,
        fives=told.get("500", 0),
        respawns=running.server.log().count("Respawned"),
        end=end,
    )


def _protected(cell: Cell, running: Instance, recycled: int) -> Cell:
    begin, before = time.monotonic(), procfs.cpu_seconds(running.server.pid)
    answers: List[load.Answer] = []
    asking = threading.Thread(
        target=lambda: answers.extend(
            load.closed_loop(
                running.server.port, "/", count=REQUESTS, clients=CLIENTS, patience=40.0
            )
        )
    )
    asking.start()
    if cell.often == "for ever":
        time.sleep(EVER_SECONDS)
        running.clear()
    wait_until(lambda: running.tokens_left() == 0, 20)
    gone = time.monotonic()
    back = wait_until(lambda: _all_serve(running), 40)
    took = max(row.since for row in running.rows()) - gone
    cpu = (procfs.cpu_seconds(running.server.pid) - before) / (time.monotonic() - begin)
    asking.join()
    back = back and running.full_strength(5)
    cell = replace(cell, answers=load.by_status(answers), cpu=cpu)
    return _judged(cell, running.server.log(), max(0.0, took) if back else None, recycled)


def _all_serve(running: Instance) -> bool:
    return all(row.state == SERVING and row.alive() for row in running.rows())


def _judged(cell: Cell, log: str, seconds: float | None, recycled: int) -> Cell:
    told = cell.answers
    fives = told.get("500", 0) + log.count("no python application found")
    pauses = [float(pause) for pause in re.findall(r"next try in ([\d.]+) s", log)] or [0.0]
    # the last pause, the load, 2 s; a load that hangs ends when it is ended
    bound = (
        max(pauses[-WORKERS:])
        + LOAD_SECONDS
        + 2.0
        + (STARTUP_TIMEOUT if cell.kind == "hang" else 0.0)
    )
    failures, respawns = log.count("has no app"), log.count("Respawned")
    wrong = [
        *(["500s"] if fives else []),
        *(["not all are 200"] if set(told) != {"200"} else []),
        *(["never back"] if seconds is None else ["too late"] if seconds > bound else []),
        *(["the master slept"] if "too fast" in log else []),
        *(["the master works"] if cell.cpu > IDLE else []),
        *(
            [f"{respawns} respawns for {failures} failures"]
            if respawns > failures + recycled
            else []
        ),
        *(["no failure was seen"] if not failures else []),
    ]
    return replace(
        cell, fives=fives, respawns=respawns, seconds=seconds, bound=bound, wrong=", ".join(wrong)
    )


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"
