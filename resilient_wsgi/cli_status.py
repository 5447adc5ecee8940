"""Show the true depth of each listen queue of a running instance, and its processes.

Works from outside, by the pid of the master, on UNIX sockets too. Needs the right to read the instance's /proc/PID/fd
(the same user, or root) and to be in its network namespace. Exit code 1 if a queue is full.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Dict, List, Tuple

from .servers import listen_queue
from .servers.listen_queue import Listener
from .settings import Backlog
from .system import SYSTEM, System


@dataclass(frozen=True)
class Process:
    """A process of the instance: its pid, state (R, S, D, Z, T of proc(5)), number of threads, command."""

    pid: int
    state: str
    threads: int
    command: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `status` takes."""
    add_target(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_target(parser: argparse.ArgumentParser, whose: str = "the master") -> None:
    """Add a pid or the file that holds it, one of them."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("pid", nargs="?", type=int, help=f"pid of {whose}")
    target.add_argument("--pidfile", help="file with that pid")


def run(arguments: argparse.Namespace) -> int:
    """Print the status; return 1 if a queue is full."""
    pid = target_pid(arguments)
    queues = listen_queue.of_process(pid)
    processes = family(pid)
    allowed = listen_queue.somaxconn()
    if arguments.json:
        report = {
            "pid": pid,
            "somaxconn": allowed,
            "listen_queues": [queue._asdict() for queue in queues],
            "processes": [asdict(process) for process in processes],
        }
        print(json.dumps(report))  # noqa: T201
    else:
        print("\n".join(render(pid, queues, processes, allowed)))  # noqa: T201
    return 1 if any(queue.depth >= queue.limit for queue in queues) else 0


def target_pid(arguments: argparse.Namespace) -> int:
    """Return the pid that was given, or that stands in the pidfile. Raises `ValueError`, `OSError`."""
    if arguments.pid is not None:
        return int(arguments.pid)
    with open(arguments.pidfile, encoding="ascii") as file:
        text = file.read().strip()
    if not text.isdigit():
        msg = f"{arguments.pidfile} holds {text!r}, not a pid"
        raise ValueError(msg)
    return int(text)


def render(pid: int, queues: List[Listener], processes: List[Process], allowed: int) -> List[str]:
    """Return the lines for a terminal."""
    lines = [f"master {pid}, {len(processes) - 1} child processes, net.core.somaxconn {allowed or 'unknown'}", ""]
    width = max([len(queue.name) for queue in queues] + [len("listen queue")])
    lines.append(f"{'listen queue':<{width}}  waiting   room")
    lines += [f"{q.name:<{width}}  {q.depth:>7}  {q.limit:>5}  {_judge(q)}".rstrip() for q in queues]
    if not queues:
        lines.append("none that can be seen from here (another network namespace? nsenter -t PID -n)")
    lines += ["", f"{'pid':>8}  state  threads  command"]
    lines += [f"{p.pid:>8}  {p.state:<5}  {p.threads:>7}  {p.command}" for p in processes]
    return lines


def _judge(queue: Listener) -> str:
    if queue.depth >= queue.limit:
        return "FULL: further connections are refused or wait for a retry"
    if queue.limit < Backlog().minimum:
        return f"short: a burst of more than {queue.limit} connections is refused"
    return ""


def family(pid: int, system: System = SYSTEM) -> List[Process]:
    """Return a process and its children, the process first. Raises `ProcessLookupError`."""
    text = system.read_text(f"/proc/{pid}/task/{pid}/children")
    pids = [pid, *(int(child) for child in text.split())]
    found = [_process(p, system) for p in pids if system.read_text(f"/proc/{p}/stat")]
    if not found:
        msg = f"there is no process {pid}"
        raise ProcessLookupError(msg)
    return found


def _process(pid: int, system: System) -> Process:
    fields = _fields(system.read_text(f"/proc/{pid}/status"))
    command = system.read_text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return Process(
        pid, fields.get("State", "?")[:1], int(fields.get("Threads", "0")), command or fields.get("Name", "?")
    )


def _fields(text: str) -> Dict[str, str]:
    pairs: List[Tuple[str, str, str]] = [line.partition(":") for line in text.splitlines()]
    return {name: value.strip() for name, _, value in pairs}
