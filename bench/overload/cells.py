"""Overloads on real servers: `python -m bench.overload.cells [part of a name] [with what ...]`.

With what: `without` the library, `defaults` (the default), `header`: the router's header and a
target of 0.3 s.

nginx in front of uWSGI, gunicorn on a UNIX socket by itself. The share is of the capacity (constant
work: as measured just before), from patience + 3 s after the first client that gave up, with a
header after the beginning. "In vain" is the part
of the runs of the app, meanwhile, that gave nobody an answer in time. Then half the capacity is
asked for: seconds until 90 % of those who ask are answered in time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

from bench import ROOT
from bench.report import machine
from lab.incidents.overload import TARGET
from lab.measuring import load
from lab.processes import Gunicorn, Nginx, Server
from lab.processes.uwsgi import Option

PROTECTED: Dict[str, Option] = {
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}
COMMON: Dict[str, Option] = {
    "master": True,
    "listen": 1024,
    "disable-logging": True,
    "need-app": True,
    "harakiri": 60,
    "pythonpath": str(ROOT),
}
SHAPES: Dict[str, Dict[str, Option]] = {
    "processes": {"processes": 4},
    "threads": {"processes": 2, "threads": 4},
}
WITHOUT, DEFAULTS, HEADER = "without", "defaults", "header"
ENV: Dict[str, Dict[str, str | None]] = {WITHOUT: {}, DEFAULTS: {}, HEADER: TARGET}
MEANS = {"constant": 0.1, "exponential": 0.1, "two": 0.109}
MOST_WAIT_AFTER = 8


class Cell(NamedTuple):
    """An overload: how much is asked for, how long clients wait, of whom, for what."""

    factor: float
    patience: Tuple[float, ...]
    shape: str
    work: str
    listen_on: str

    @property
    def name(self) -> str:
        patience = "/".join(f"{each:g}" for each in self.patience)
        return (
            f"{self.factor:g} x, {patience} s, {self.shape} on {self.listen_on}, {self.work} work"
        )

    @property
    def threads(self) -> int:
        return 8 if self.shape == "threads" else 4


CELLS = [
    Cell(1.2, (1,), "processes", "constant", "unix"),
    Cell(1.2, (2,), "threads", "exponential", "uwsgi"),
    Cell(1.2, (2,), "gunicorn", "two", "unix"),
    Cell(2, (5,), "threads", "two", "unix"),
    Cell(2, (2,), "processes", "constant", "uwsgi"),
    Cell(2, (2,), "processes", "two", "unix"),
    Cell(2, (5,), "gunicorn", "exponential", "unix"),
    Cell(2, (10,), "threads", "constant", "uwsgi"),
    Cell(2, (1, 10), "processes", "exponential", "unix"),
    Cell(4, (1,), "gunicorn", "constant", "unix"),
    Cell(4, (2,), "threads", "two", "unix"),
    Cell(4, (5,), "processes", "two", "uwsgi"),
    Cell(4, (10,), "processes", "exponential", "uwsgi"),
    Cell(4, (1, 10), "threads", "exponential", "uwsgi"),
    Cell(10, (1,), "processes", "exponential", "uwsgi"),
    Cell(10, (2,), "gunicorn", "constant", "unix"),
    Cell(10, (5,), "threads", "constant", "unix"),
    Cell(10, (1, 10), "processes", "constant", "uwsgi"),
]


class Outcome(NamedTuple):
    """What came of it."""

    capacity: float
    good: float
    vain: float
    shed: float
    recovered: float | None


@contextlib.contextmanager
def serving(
    cell: Cell,
    runs: str,
    how: str = DEFAULTS,
    found: Callable[[List[int]], object] = lambda _pids: None,
) -> Iterator[Union[int, str]]:
    """Run the servers, tell `found` the pids of the workers; yield where to ask."""
    env = {"BENCH_WORK": cell.work, "BENCH_RUNS": runs, **ENV[how]}
    app = "bench.overload.overload_app:" + ("unprotected" if how == WITHOUT else "protected")
    with contextlib.ExitStack() as stack:
        if cell.shape == "gunicorn":
            server = stack.enter_context(OnUnixSocket(app, ["--workers=4"], env=env))
            yield server.path
            return
        options = {
            **COMMON,
            **SHAPES[cell.shape],
            "module": app,
            **({} if how == WITHOUT else PROTECTED),
        }
        uwsgi = stack.enter_context(Server(options, listen_on=cell.listen_on, env=env))
        found(uwsgi.workers())
        yield stack.enter_context(Nginx([uwsgi.address])).port


class OnUnixSocket(Gunicorn):
    """gunicorn on a UNIX socket in its folder."""

    @property
    def path(self) -> str:
        return str(self.directory / "gunicorn.sock")

    def command(self) -> List[str]:
        first, _, *rest = super().command()
        return [first, f"--bind=unix:{self.path}", "--pythonpath", str(ROOT), *rest]


def capacity(address: Union[int, str], cell: Cell) -> float:
    """Return how many requests a second can be answered: measured, or, where work varies by chance,
    nominal.
    """
    nominal = cell.threads / MEANS[cell.work]
    count, begin = int(4 * nominal), time.monotonic()
    load.closed_loop(address, "/", count=count, clients=cell.threads + 2, patience=30)
    measured = count / (time.monotonic() - begin)
    return measured if cell.work == "constant" else nominal


@contextlib.contextmanager
def asking(
    address: Union[int, str], cell: Cell, how: str, rate: float, seconds: float
) -> Iterator[List[load.Load]]:
    """Have clients ask at a rate, until the block is left and all have their answers."""
    with contextlib.ExitStack() as stack:
        loads = []
        for patience in cell.patience:
            rates = [load.Rate("/", rate / len(cell.patience))]
            asked = load.Load(address, rates, patience, seconds, stamped=how == HEADER)
            loads.append(stack.enter_context(asked))
        yield loads


def ask(
    address: Union[int, str], cell: Cell, how: str, rate: float, seconds: float
) -> Tuple[float, List[load.Answer]]:
    """Ask at a rate; return since when, and what became of it."""
    begin = time.monotonic()
    with asking(address, cell, how, rate, seconds) as loads:
        time.sleep(seconds)
    return begin, [answer for each in loads for answer in each.answers]


def overload(cell: Cell, how: str = DEFAULTS) -> Outcome:
    """Run one cell."""
    with tempfile.NamedTemporaryFile() as runs, serving(cell, runs.name, how) as address:
        load.burst(address, "/", cell.threads * 2, 10.0)
        can = capacity(address, cell)
        seconds = 25 + 3 * min(cell.patience) + (12 if cell.factor < 2 else 0)
        _, calm = ask(address, cell, how, can / 2, 3)
        assert all(answer.good for answer in calm), load.summary(calm)
        with asking(address, cell, how, cell.factor * can, seconds) as loads:
            begin, sizes = time.monotonic(), []
            while time.monotonic() < begin + seconds:
                sizes.append((time.monotonic(), os.path.getsize(runs.name)))
                time.sleep(0.1)
            for each in loads:
                each.end()
            end = time.monotonic()
            # the load after it begins at once, while the last clients of the overload still wait
            after_begin, after = ask(address, cell, how, can / 2, MOST_WAIT_AFTER)
        answers = [answer for each in loads for answer in each.answers]
    gave_up = [a.end for a in answers if a.status == load.NO_ANSWER]
    learns = how != HEADER  # from then on; else there is nothing to wait for
    first = (min(gave_up, default=begin) if learns else begin) + min(cell.patience) + 3
    seen = [a for a in answers if first < a.end <= end]
    good, span = sum(a.good for a in seen), end - first
    run = sizes[-1][1] - next((size for at, size in sizes if at >= first), sizes[-1][1])
    asked = sum(first < a.begin <= end for a in answers)
    return Outcome(
        can,
        good / span / can if span > 3 else float("nan"),
        max(0, run - good) / max(1, run),
        sum(a.status == "503" for a in seen) / max(1, asked),
        recovered(after, after_begin),
    )


def recovered(answers: Sequence[load.Answer], begin: float) -> float | None:
    """Return after how many seconds 90 % of those who ask are answered."""
    last = None
    for second in range(MOST_WAIT_AFTER):
        those = [a for a in answers if second <= a.begin - begin < second + 1]
        if sum(a.good for a in those) < 0.9 * len(those):
            last = second
    if last == MOST_WAIT_AFTER - 1:
        return None
    return 0.0 if last is None else last + 1.0


def main(part: str = "", *hows: str) -> None:
    """Print the table."""
    print(machine("uwsgi", "gunicorn"), "\n")
    print(
        "| | | capacity/s | good, of it | in vain, of the runs | shed, of those asked | good again "
        "after, s |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for cell in CELLS:
        for how in (hows or (DEFAULTS,)) if part in cell.name else ():
            out = overload(cell, how)
            again = "over 8" if out.recovered is None else f"{out.recovered:.0f}"
            print(
                f"| {cell.name} | {how} | {out.capacity:.0f} | {out.good:.1%} | {out.vain:.1%} | "
                f"{out.shed:.0%} | {again} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
