"""Show the true depth of each listen queue of a running instance, and its processes.

Works from outside, by the pid of the master, on UNIX sockets too. Needs the right to read the
instance's /proc/PID/fd (the same user, or root) and to be in its network namespace. Exit code 1 if
a queue is full.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import List, Sequence, Set, Tuple

from ..core.text import printable
from ..host import procfs, sockets
from ..host.sockets import Listener
from ..settings.options import Backlog
from . import target
from .output import say


@dataclass(frozen=True)
class Process:
    """A process of the instance: its pid, state (R, S, D, Z, T of proc(5)), number of threads,
    command.
    """

    pid: int
    state: str
    threads: int
    command: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `status` takes."""
    target.add_target(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the status; return 1 if a queue is full."""
    pid = target.master(arguments)
    found = sockets.listeners_of(pid)
    processes = family(pid)
    queues, own = by_use(found, processes)
    if not found and len(processes) < 2:
        msg = f"process {pid}{target.name_of(pid)} is no server: it listens to nothing and has forked no workers"
        raise target.CannotLook(msg)
    allowed = sockets.somaxconn()
    if arguments.json:
        report = {
            "pid": pid,
            "somaxconn": allowed,
            "listen_queues": [queue._asdict() for queue in queues],
            "masters_own": [queue._asdict() for queue in own],
            "processes": [asdict(process) for process in processes],
        }
        say(json.dumps(report))
    else:
        say(*render(pid, queues, processes, allowed, own))
    return 1 if any(queue.depth >= queue.limit for queue in queues) else 0


def by_use(
    found: List[Listener], processes: List[Process]
) -> Tuple[List[Listener], List[Listener]]:
    """Return the queues that workers take requests from, and those of the master alone, as
    gunicorn's control socket is.

    What its workers have open cannot always be seen: then all are taken for theirs.
    """
    names: Set[str] = set()
    for process in processes[1:]:
        with suppress(OSError):  # it has gone, or changed its user
            names.update(queue.name for queue in sockets.listeners_of(process.pid))
    if not names.intersection(queue.name for queue in found):
        return found, []
    return [q for q in found if q.name in names], [q for q in found if q.name not in names]


def render(
    pid: int,
    queues: List[Listener],
    processes: List[Process],
    allowed: int,
    own: Sequence[Listener] = (),
) -> List[str]:
    """Return the lines for a terminal; `own` are listeners of the master that have nothing to do
    with requests.
    """
    lines = [
        f"master {pid}, {len(processes) - 1} workers and helpers, net.core.somaxconn {allowed or 'unknown'}",
        "",
    ]
    width = max([len(queue.name) for queue in [*queues, *own]] + [len("listen queue")])
    lines.append(f"{'listen queue':<{width}}  waiting   room")
    lines += [
        f"{q.name:<{width}}  {q.depth:>7}  {q.limit:>5}  {_judge(q)}".rstrip() for q in queues
    ]
    lines += [
        f"{q.name:<{width}}  {q.depth:>7}  {q.limit:>5}  the master's own: no requests come by it"
        for q in own
    ]
    if not queues:
        lines.append(
            "none that can be seen from here (another network namespace? nsenter -t PID -n)"
        )
    lines += ["", f"{'pid':>8}  state  threads  command"]
    lines += [f"{p.pid:>8}  {p.state:<5}  {p.threads:>7}  {p.command}" for p in processes]
    return lines


def _judge(queue: Listener) -> str:
    if queue.depth >= queue.limit:
        return "FULL: further connections are refused or wait for a retry"
    if queue.limit < Backlog().minimum:
        return f"short: a burst of more than {queue.limit} connections is refused"
    return ""


def family(pid: int) -> List[Process]:
    """Return a process and the workers that were forked from it, the process first."""
    found = ((each, procfs.stat(each)) for each in target.family(pid))
    return [_process(each, about) for each, about in found if about is not None]


def _process(pid: int, about: procfs.Stat) -> Process:
    command = printable(procfs.cmdline(pid)) or printable(about.name)
    return Process(pid, about.state, about.threads, command or "?")
