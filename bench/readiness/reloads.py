"""Deploys that cannot be loaded, by each way of reloading and of failing: `python -m
bench.readiness.reloads [chain] [lazy] [prefork]`.

Each cell is an instance of uWSGI that has served. It is reloaded with a broken app, looked at while
it fails, mended, and looked at again, without another reload. Plain uWSGI is tried beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from typing import Dict, Iterator, List, Tuple

from bench import report
from bench.readiness.cases import KINDS, NAMINGS, NOT_NOW, Instance, instance, options
from lab.measuring import load
from lab.processes import wait_until

WORKERS = 3
SECONDS = 6.0  # how long it is looked at with the broken app
HEALS = 20.0
PACE = {"FIRST_PAUSE": "0.3", "MAX_PAUSE": "1", "STARTUP_TIMEOUT": "1"}
ENV = {f"RESILIENT_WSGI_READINESS_{name}": value for name, value in PACE.items()}
HEAD = (
    "reload",
    "named by",
    "failure",
    "server",
    "answers while broken",
    "victims of the chain",
    "failed loads",
    "the instance",
    "healed after",
)
# in the master these end it, or keep it for ever, as without the library
ENDS_THE_MASTER = {"exit", "hang", "killed", "crash", "starved"}


def cells() -> Iterator[Tuple[str, str, str, bool]]:
    """Yield how it is reloaded, how the app is named, how it fails, whether the library is there."""
    wanted = [way for way in ("chain", "lazy", "prefork") if way in sys.argv] or [
        "chain",
        "lazy",
        "prefork",
    ]
    for way in wanted:
        for kind in KINDS:
            if way == "prefork" and kind in ENDS_THE_MASTER:
                continue
            yield way, "module", kind, False
            for naming in NAMINGS if way == "chain" else ("module",):
                yield way, naming, kind, True
    if "chain" in wanted:
        yield "chain", "need-app", "import", True


def run(way: str, naming: str, kind: str, protected: bool) -> Tuple[object, ...]:
    """Run one; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        fifo = os.path.join(folder, "fifo")
        more = {"need_app": True} if naming == "need-app" else {}
        name = "module" if naming == "need-app" else naming
        chosen = options(
            name,
            lazy=way != "prefork",
            protected=protected,
            processes=WORKERS,
            master_fifo=fifo,
            **more,
        )
        with instance(chosen, env=ENV) as running:
            assert running.full_strength()
            running.fail_ever(kind)
            _reload(running, way, fifo)
            answers: Counter[str] = Counter()
            until = time.monotonic() + SECONDS
            while time.monotonic() < until and running.server.alive():
                answers += Counter(
                    load.by_status(
                        load.closed_loop(running.server.port, "/", count=8, clients=4, patience=1.0)
                    )
                )
                time.sleep(0.05)
            victims, failures = (
                len(running.events("chain next victim")),
                len(running.events("has no app")),
            )
            running.clear()
            begin = time.monotonic()
            healed = running.server.alive() and wait_until(
                lambda: _all_serve(running, protected), HEALS
            )
            end = f"{time.monotonic() - begin:.1f} s" if healed else f"not within {HEALS:.0f} s"
            state = "runs" if running.server.alive() else f"ended with {running.server.returncode}"
    return (way, naming, kind, "with" if protected else "without", _text(dict(answers)), victims if way == "chain" else "",
            failures, state, end)  # fmt: skip


def _reload(running: Instance, way: str, fifo: str) -> None:
    if way == "chain":
        with open(fifo, "w", encoding="ascii") as file:
            file.write("c")
    else:
        running.server.signal(signal.SIGHUP)


def _all_serve(running: Instance, protected: bool) -> bool:
    if protected:
        with contextlib.suppress(*NOT_NOW):
            return all(row.ready for row in running.rows()) and len(running.serving()) == WORKERS
        return False
    answers = load.burst(running.server.port, "/", 24, 2.0)
    return (
        all(answer.good for answer in answers)
        and len({answer.worker for answer in answers}) == WORKERS
    )


def _text(answers: Dict[str, int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(answers.items())) or "none"


def main() -> None:
    """Print a row for each cell."""
    print(report.machine("uwsgi"))
    print(f"\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
    wrong: List[str] = []
    for way, naming, kind, protected in cells():
        row = run(way, naming, kind, protected)
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)
        if protected and (
            row[7] != "runs" or "not" in str(row[8]) or (way == "chain" and row[5] != 1)
        ):
            wrong.append(f"{way} {naming} {kind}")
    print(f"\nnot as it should be: {', '.join(wrong) or 'none'}")


if __name__ == "__main__":
    main()
