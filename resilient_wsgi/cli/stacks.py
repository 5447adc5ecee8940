"""Print the stacks of all threads of each worker of a running instance, with the requests that run
in it.

All workers are asked at the same time, each over a socket of its own, where a thread of Python
answers, also when all others are blocked in a write or wait for an upstream. A worker that has not
answered after 2 s, because C code holds the GIL, say, is sent a signal (REQUEST.STACKS_SIGNAL) at
which it writes its stacks without Python's help. That may end a worker whose threads are busy:
--no-signal leaves it alone. Reads only what was verified to belong to the worker's user, as root,
too.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from typing import Dict, List, Mapping, NoReturn, Optional

from ..errors import Unavailable
from ..host import procfs
from ..shm import instance
from ..shm.directory import Directory
from ..shm.layout import Request
from ..shm.snapshot import NotAScoreboard, Snapshot
from . import target, why_nothing
from .output import answer
from .worker_stacks import PATIENCE, Worker, ask, signal_silent, workers

EXIT_CODES = {
    0: "every worker has shown its stacks",
    1: "a worker has not",
    2: "the instance cannot be looked at, or has no worker that answers",
}
JSON = {
    "pid": "the master",
    "workers[].pid": "",
    "workers[].command": "its command line",
    "workers[].answered": "how: `python` (a thread of Python), `signal`, or null",
    "workers[].complete": "whether it has sent all; false for what was written at the signal",
    "workers[].problem": 'why no thread of Python has answered, `""` if one has',
    "workers[].refusal": 'why there are no stacks at all, `""` if there are',
    "workers[].requests[].method": "of a request that runs in it",
    "workers[].requests[].path": "without the query",
    "workers[].requests[].seconds": "for how long it has run",
    "workers[].requests[].waits_for": 'the upstream that it waits for, `""` if none is known',
    "workers[].stacks[]": "a line of the answer",
    "others[].pid": "a process of the instance that is no worker, or does not serve yet",
    "others[].command": "its command line",
}
LINE = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `stacks` takes."""
    target.add_target(parser)
    parser.add_argument(
        "--no-signal",
        action="store_true",
        help="do not signal a worker in which no thread of Python answers",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the stacks; return 1 if a worker has shown none."""
    pid = target.pid_of(arguments)
    # of a process that has changed its user, only root may see what it has open; its user finds
    # its directory all the same
    with suppress(target.CannotLook):
        pid = target.master_of(pid)
    try:
        directory = instance.find(pid)
    except Unavailable:
        none(pid)
    except PermissionError:
        target.no_permission(pid)
    family = workers([pid, *procfs.children(pid)], directory)
    found = [each for each in family if each.serves]
    others = [each for each in family[1:] if not each.serves]
    if not found:
        none(pid)
    ask(found)
    signal_silent([each for each in found if not each.answer], allowed=not arguments.no_signal)
    requests = running(directory)
    report = {
        "pid": pid,
        "workers": [_fields(each, requests) for each in found],
        "others": [{"pid": each.pid, "command": each.command} for each in others],
    }
    lines = [line for each in found for line in render(each, requests)]
    lines += [
        f"--- {each.pid} {each.command}: no worker, or one that does not serve yet"
        for each in others
    ]
    answer(arguments, report, lines)
    return 0 if all(each.answer or each.dump for each in found) else 1


def none(pid: int) -> NoReturn:
    """Raise `CannotLook` that says why no worker answers."""
    why = why_nothing.of_stacks(pid)
    msg = f"no worker of process {pid}{target.name_of(pid)} answers for its stacks: {why}"
    raise target.CannotLook(msg)


Requests = Mapping[int, List[Request]]
"""The requests that run, the oldest first, by the pid of their worker in its own namespace."""


def running(directory: Directory) -> Requests:
    """Return the requests that run in an instance, as its workers have noted them."""
    with suppress(OSError, Unavailable, NotAScoreboard), Snapshot(directory) as seen:
        return {row.pid: row.requests() for row in seen.rows if row.pid and not row.released}
    return {}


def render(worker: Worker, requests: Requests) -> List[str]:
    """Return the lines for a terminal."""
    head = f"=== {worker.pid} {worker.command}"
    if worker.answer:
        return [head, *_lines(worker.answer), *([""] if worker.complete else ["... (cut)", ""])]
    lines = [head, *_request_lines(requests.get(worker.inner_pid))]
    lines.append(f"no Python thread answered: {_problem(worker)}")
    if worker.signalled:
        lines.append(
            f"sending signal {worker.signalled}, at which it writes its stacks; "
            "this may end it if it is busy"
        )
    lines += _lines(worker.dump) if worker.dump else [f"no stacks: {worker.refusal}"]
    return [*lines, ""]


def _problem(worker: Worker) -> str:
    return worker.problem or f"within {PATIENCE:g} s"


def _request_lines(requests: Optional[List[Request]]) -> List[str]:
    if requests is None:
        return []
    now = time.monotonic()
    return [
        f"{each.what} for {now - each.begun:.2f} s"
        + (f", waiting for {each.doing}" if each.doing else "")
        for each in requests
    ] or ["no request runs"]


def _fields(worker: Worker, requests: Requests) -> Dict[str, object]:
    how = "python" if worker.answer else "signal" if worker.dump else None
    return {
        "pid": worker.pid,
        "command": worker.command,
        "answered": how,
        "complete": worker.complete,
        "problem": "" if worker.answer else _problem(worker),
        "refusal": worker.refusal,
        "requests": [request_fields(each) for each in requests.get(worker.inner_pid, ())],
        "stacks": _lines(worker.answer or worker.dump),
    }


def request_fields(found: Request) -> Dict[str, object]:
    """Return a request as `--json` has it."""
    seconds = round(time.monotonic() - found.begun, 3)
    return {
        "method": found.method, "path": found.path, "seconds": seconds, "waits_for": found.doing,
    }  # fmt: skip


def _lines(data: bytes) -> List[str]:
    text = data.decode(errors="replace").rstrip()
    return [line[:LINE] for line in text.split("\n")] if text else []
