"""Show the true depth of each listen queue of a running instance, what is known of the waits there
and which requests are shed, its processes, and the requests that have run for a second, with what
they wait for.

Works from outside, by the pid of the master, on UNIX sockets too. Needs the right to read the
instance's /proc/PID/fd (the same user, or root) and to be in its network namespace.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Sequence, Set, Tuple

from ..bulkhead.state import limited_in
from ..core.text import printable
from ..errors import Unavailable
from ..host import procfs, sockets
from ..host.sockets import Listener
from ..overload.seen import Seen
from ..settings.options import Backlog
from ..shm.snapshot import NotAScoreboard, Snapshot
from . import target
from .output import answer

LISTED_AFTER = 1.0  # seconds
EXIT_CODES = {
    0: "there is room in every listen queue",
    1: "a listen queue is full",
    2: "the process is no server, or cannot be looked at",
}
JSON = {
    "pid": "the master",
    "somaxconn": "net.core.somaxconn of this network namespace, 0 if unknown",
    "listen_queues[].name": "the address that it listens on",
    "listen_queues[].depth": "connections that wait",
    "listen_queues[].limit": "for how many there is room",
    "masters_own[].name": "of a socket of the master alone: no requests come by it",
    "masters_own[].depth": "",
    "masters_own[].limit": "",
    "limited[].upstream": "host:port of one that is limited by fair share",
    "limited[].seconds": "for how long",
    "limited[].refused": "calls since then",
    "limited[].ended": "",
    "limited[].by_operator": "true: by `resilient-wsgi limit`",
    "overload.picked_up": "requests picked up since the start; null if nothing is known of waits",
    "overload.tolerated": "seconds of waiting after which clients hang up before they have their "
    "answer, null if not known",
    "overload.limit": "seconds of waiting after which requests are shed now, null if none are",
    "overload.shed": "in this overload",
    "overload.shed_ever": "since the start",
    "overload.oldest": "seconds that the first request in the queue has waited",
    "processes[].pid": "the master comes first",
    "processes[].state": "R, S, D, Z or T, as in proc(5)",
    "processes[].threads": "",
    "processes[].command": "its command line",
    "requests[].pid": "of the worker, in its own namespace",
    "requests[].method": "of a request that has run for a second",
    "requests[].path": "",
    "requests[].seconds": "how long it has run",
    "requests[].waits_for": "empty if that is not known",
}


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


def run(arguments: argparse.Namespace) -> int:
    """Print the status; return 1 if a queue is full."""
    pid = target.master(arguments)
    known = sockets.listeners()
    found = sockets.listeners_of(pid, known)
    processes = family(pid)
    if not found and len(processes) < 2:
        msg = (
            f"process {pid}{target.name_of(pid)} is no server: "
            "it listens to nothing and has forked no workers"
        )
        raise target.CannotLook(msg)
    queues, own = by_use(found, processes, known)
    allowed = sockets.somaxconn()
    running = requests(pid)
    limited = _limited(pid)
    seen = overload(pid, sum(queue.depth for queue in queues))
    report = {
        "pid": pid,
        "somaxconn": allowed,
        "listen_queues": [queue._asdict() for queue in queues],
        "masters_own": [queue._asdict() for queue in own],
        "limited": limited,
        "overload": asdict(seen),
        "processes": [asdict(process) for process in processes],
        "requests": running,
    }
    lines = [
        *render(pid, queues, processes, allowed, own, seen.lines()),
        *map(_in_words, limited),
        *request_lines(running),
    ]
    answer(arguments, report, lines)
    return 1 if any(queue.depth >= queue.limit for queue in queues) else 0


def overload(pid: int, waiting: int) -> Seen:
    """Return what an instance of ours knows of its listen queue, in which so many wait."""
    from ..shm.snapshot import NotAScoreboard, Snapshot

    with suppress(Unavailable, OSError, NotAScoreboard), Snapshot.of_process(pid) as snapshot:
        return Seen.of(snapshot, waiting, time.monotonic())
    return Seen()


def requests(pid: int) -> List[Dict[str, Any]]:
    """Return the requests that have run for a second, the longest first, as the workers of an
    instance of ours have noted them.
    """
    from ..shm import instance
    from . import stacks

    with suppress(Unavailable, OSError):
        found = [
            {"pid": worker, **stacks.request_fields(each)}
            for worker, each_of in stacks.running(instance.find(pid)).items()
            for each in each_of
        ]
        listed = [each for each in found if float(str(each["seconds"])) >= LISTED_AFTER]
        return sorted(listed, key=lambda each: -float(str(each["seconds"])))
    return []


def request_lines(running: List[Dict[str, Any]]) -> List[str]:
    """Return the lines of requests for a terminal."""
    lines = [
        f"{each['pid']:>8}  {each['seconds']:>7.1f}  {printable(each['method'])} "
        + printable(each["path"])
        + (f", waiting for {printable(each['waits_for'])}" if each["waits_for"] else "")
        for each in running
    ]
    return ["", f"{'worker':>8}  seconds  request", *lines] if lines else []


def _limited(pid: int) -> List[Dict[str, Any]]:
    """Return the upstreams that are limited; none where that cannot be seen."""
    with suppress(OSError, Unavailable, NotAScoreboard), Snapshot.of_process(pid) as seen:
        now = time.monotonic()
        return [
            {
                "upstream": each.name,
                "seconds": round(now - each.since, 1),
                "refused": each.refused,
                "ended": each.ended,
                "by_operator": each.by_operator,
            }
            for each in limited_in(seen)
        ]
    return []


def _in_words(limited: Dict[str, Any]) -> str:
    by = " by an operator" if limited["by_operator"] else ""
    return (
        f"{limited['upstream']} is limited{by} for {limited['seconds']:.0f} s: "
        f"{limited['refused']} calls refused, {limited['ended']} ended"
    )


def by_use(
    found: List[Listener], processes: List[Process], known: Dict[int, Listener]
) -> Tuple[List[Listener], List[Listener]]:
    """Return the queues that workers take requests from, and those of the master alone, as
    gunicorn's control socket is.

    What its workers have open cannot always be seen: then all are taken for theirs.
    """
    names: Set[str] = set()
    unused = {queue.name for queue in found}
    for process in processes[1:]:
        if not unused:
            break
        with suppress(OSError):  # it has gone, or changed its user
            names.update(queue.name for queue in sockets.listeners_of(process.pid, known))
            unused -= names
    if not names.intersection(queue.name for queue in found):
        return found, []
    return [q for q in found if q.name in names], [q for q in found if q.name not in names]


def render(
    pid: int,
    queues: List[Listener],
    processes: List[Process],
    allowed: int,
    own: Sequence[Listener] = (),
    overload: Sequence[str] = (),
) -> List[str]:
    """Return the lines for a terminal; `own` are listeners of the master that have nothing to do
    with requests.
    """
    count, somaxconn = len(processes) - 1, allowed or "unknown"
    lines = [f"master {pid}, {count} workers and helpers, net.core.somaxconn {somaxconn}", ""]
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
    lines += ["", *overload] if overload else []
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
    return [
        Process(each, stat.state, stat.threads, printable(procfs.cmdline(each) or stat.name))
        for each, stat in found
        if stat is not None
    ]
