"""Each way to run uWSGI and gunicorn, with each kind of reader that a log can have: 3000 requests,
without and with the library.

`python -m bench.stderr.matrix [PART OF A NAME ...]`: only the configurations whose names have one
of these in them.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Iterator, Sequence, Union

from bench.report import machine
from lab.measuring import load, procfs
from lab.processes import Gunicorn, ProcessError, Server, wait_until
from lab.stderr.log_reader import MANNERS, RETURNS, SLOW, Reader
from lab.stderr.log_servers import CONFIGURATIONS, Configuration, serving, why_not_as_nobody

REQUESTS = 3000
CLIENTS = 8
# seconds that a client waits, and with it how long it takes to see that nobody answers
PATIENCE = 1.5
HARAKIRI = 3
UNPROTECTED_SECONDS = 5.0  # for a reader that is slow it would take minutes
OBEY_SECONDS = 20.0
AT_ONCE = 2  # cells that run at the same time: most of a cell is waiting for harakiri

COLUMNS = ("CPU % when idle", "lines unaccounted for", "harakiri s", "reload s", "stop s")

AnyServer = Union[Server, Gunicorn]


@dataclass
class Cell:
    """What came of one configuration with one kind of reader; seconds, -1 for never."""

    unprotected: int = 0
    protected: int = 0
    cpu_percent: float = 0.0
    lines: int = 0
    accounted: int = 0
    harakiri: float = -1.0
    reload: float = -1.0
    stop: float = -1.0

    def __str__(self) -> str:
        lines = (
            ""
            if not self.lines
            else f"{self.lines - self.accounted:+d}"
            if self.lines != self.accounted
            else "0"
        )
        words = [
            f"{self.unprotected}",
            f"{self.protected}",
            f"{self.cpu_percent:.0f}",
            lines or "-",
        ]
        return " | ".join(
            words
            + [
                f"{each:.1f}" if each >= 0 else "never"
                for each in (self.harakiri, self.reload, self.stop)
            ]
        )


def ask(server: AnyServer, seconds: float) -> int:
    """Return how many requests are answered; give up when nobody answers any more, or after so many
    seconds.
    """
    end = time.monotonic() + seconds
    answers = load.closed_loop(
        server.port,
        "/",
        count=REQUESTS,
        clients=CLIENTS,
        patience=PATIENCE,
        give_up=lambda answers: (
            time.monotonic() > end
            or (len(answers) >= CLIENTS and not any(answer.good for answer in answers[-CLIENTS:]))
        ),
    )
    return sum(answer.good for answer in answers)


def measure(configuration: Configuration, manner: str) -> Cell:
    """Run without and with the library, one after the other."""
    cell = Cell()
    with serving(configuration, manner, protected=False) as (server, reader):
        cell.unprotected = ask(server, UNPROTECTED_SECONDS)
    with serving(configuration, manner, harakiri=HARAKIRI) as (server, reader):
        # that it is there was seen by a request
        asked = REQUESTS + (1 if configuration.is_gunicorn else 0)
        cell.protected = ask(server, OBEY_SECONDS)
        before = _cpu_seconds(server)
        time.sleep(0.5)
        cell.cpu_percent = (_cpu_seconds(server) - before) * 200
        if manner == RETURNS:
            _account(cell, server, reader, asked)
        cell.harakiri = _harakiri(server)
        if manner in (RETURNS, SLOW):
            reader.come_back()
        cell.reload = _reload(server)
        with contextlib.suppress(ProcessError):
            cell.stop = server.stop(signal.SIGTERM, OBEY_SECONDS)
    return cell


def _cpu_seconds(server: AnyServer) -> float:
    return sum(map(procfs.cpu_seconds, [server.pid, *server.workers()]))


def _account(cell: Cell, server: AnyServer, reader: Reader, asked: int) -> None:
    """Count the lines that the reader gets, and is told to have missed, when it reads again."""
    cell.lines = asked
    reader.come_back()

    def all_there() -> bool:
        cell.lines += sum(answer.good for answer in load.burst(server.port, "/", 4, PATIENCE))
        time.sleep(0.05)
        reader.read()
        cell.accounted = reader.accounted()
        return cell.accounted == cell.lines

    wait_until(all_there, 5.0)


def _harakiri(server: AnyServer) -> float:
    """Return how long it took until a worker that hangs was replaced and the instance answers."""
    old, begin = server.workers(), time.monotonic()
    load.get(server.port, "/hang", OBEY_SECONDS)
    replaced = wait_until(
        lambda: set(old) != set(server.workers()) and len(server.workers()) >= len(old),
        OBEY_SECONDS,
    )
    return time.monotonic() - begin if replaced and load.get(server.port, "/").good else -1.0


def _reload(server: AnyServer) -> float:
    """Return how long a reload took."""
    old, begin = set(server.workers()), time.monotonic()
    server.directory.chmod(0o755)  # who has changed the user reads uwsgi.ini again
    server.signal(signal.SIGHUP)
    fresh = wait_until(
        lambda: len(server.workers()) >= len(old) and not old & set(server.workers()), OBEY_SECONDS
    )
    return time.monotonic() - begin if fresh and load.get(server.port, "/").good else -1.0


def run(parts: Sequence[str] = ()) -> Iterator[str]:
    """Yield the report, line by line, as the cells come in."""
    reason = why_not_as_nobody()
    names = [name for name in CONFIGURATIONS if any(part in name for part in parts or [""])]
    left_out = [name for name in names if reason and "uid" in name]
    wanted = [(name, manner) for name in names if name not in left_out for manner in MANNERS]
    yield f"{machine('uwsgi', 'gunicorn')}; {AT_ONCE} cells at a time"
    yield from (f"{name} left out: {reason}" for name in left_out)
    yield f"\n| | reader | without: of {REQUESTS} in {UNPROTECTED_SECONDS:.0f} s | with: of {REQUESTS} | {' | '.join(COLUMNS)} |"
    yield "| --- " * (4 + len(COLUMNS)) + "|"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        cells = pool.map(lambda each: measure(CONFIGURATIONS[each[0]], each[1]), wanted)
        for (name, manner), cell in zip(wanted, cells):
            yield f"| {name} | {manner} | {cell} |"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are ended then, too
    for line in run(sys.argv[1:]):
        print(line, flush=True)
