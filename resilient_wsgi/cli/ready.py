"""Report whether a running uWSGI instance is ready, from outside, without a request: an exec probe.

It reads what the workers have written about themselves into the instance's scoreboard, so it does
not wait behind the app's requests, however full the listen queue is.
"""

from __future__ import annotations

import argparse
import time

from ..core.text import printable
from ..errors import Unavailable
from ..host import procfs
from ..readiness.states import DRAINED, SERVING, STATES, UNWATCHED
from ..shm.layout import WorkerRow
from ..shm.snapshot import NotAScoreboard, Snapshot
from . import target
from .output import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Tuple

    Found = Tuple[int, Snapshot]
    Report = List[Dict[str, object]]

EXIT_CODES = {
    0: "ready (with --live: live)",
    1: "not ready (not live)",
    2: "unknown: no such process, no permission, not an instance with this library",
}
JSON = {
    "pid": "the master",
    "status": "`ready`, `not ready`, `live` or `not live`",
    "state": '`draining`, `degraded`, why readiness is off, or `""`',
    "workers[].worker": "its number, null if it is not known whether it is a worker",
    "workers[].pid": "in its own pid namespace",
    "workers[].state": "what it does: `serving`, `loading`, ...",
    "workers[].ready": "",
    "workers[].failures": "failed loads in a row",
    "workers[].why": "why it is not ready",
    "workers[].degraded": "what it serves without",
}
GUNICORN = "ask /-/ready over HTTP"
REASON_LIMIT = 512
STALE_SECONDS = 15.0  # a worker that has not examined itself for so long is stuck


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb `ready` takes."""
    target.add_target(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="ask only whether the master runs, and a worker that is not stuck",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="how many must be ready (default: %(default)s)",
    )


class Unwatched(target.CannotLook):
    """Readiness is off in the instance, for the reason `why`."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__(f"readiness is off in the instance of process {pid}: {why}")
        self.pid = pid
        self.why = why


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each worker; return 0 or 1."""
    try:
        pid, seen = master_and_scoreboard(arguments)
    except Unwatched as reason:
        return _by_processes(arguments, reason.pid, reason.why)
    alive = _who_lives(pid)
    rows = {number: row for number, row in enumerate(seen.workers, 1) if row.spawns}
    living = {number for number, row in rows.items() if alive(row)}
    report = [worker(number, row, number in living) for number, row in rows.items()]
    _note_full_log(pid, report)
    draining = bool(seen.header.draining)
    if arguments.live:
        good = any(not _silent(rows[number]) for number in living)
    else:
        ready = sum(bool(each["ready"]) for each in report)
        good = not draining and ready >= arguments.workers
    degraded = any(each["degraded"] for each in report)
    state = "draining" if draining else "degraded" if degraded else ""
    _print(arguments, pid, good, state, report)
    return 0 if good else 1


def master_and_scoreboard(arguments: argparse.Namespace, gunicorn: str = GUNICORN) -> Found:
    """Return the master that the arguments name, and the scoreboard of its instance.

    `gunicorn` is what to do under gunicorn instead. Raises `target.CannotLook`.
    """
    pid = target.pid_of(arguments)
    try:
        master = target.master(arguments)
    except target.CannotLook:
        # the kernel hides what a process that has changed its user has open, but the scoreboard of
        # its instance can be found by its name
        seen = _found_by_name(pid)
        if seen is None:
            raise
        return seen.header.master[0], seen
    return master, scoreboard_of(master, gunicorn)


def scoreboard_of(pid: int, gunicorn: str = GUNICORN) -> Snapshot:
    """Return the scoreboard of the instance with that master. Raises `target.CannotLook`."""
    try:
        seen = Snapshot.of_process(pid)
    except PermissionError:
        target.no_permission(pid)
    except ProcessLookupError:
        msg = f"process {pid} has ended"
        raise target.CannotLook(msg) from None
    except NotAScoreboard as reason:
        msg = f"the instance of process {pid} {reason}"
        raise target.CannotLook(msg) from None
    except (FileNotFoundError, Unavailable):
        target.not_ours(pid, gunicorn)
    if seen.header.off_reason:
        raise Unwatched(pid, seen.header.off_reason)
    if not _watches(seen):
        target.not_ours(pid, gunicorn)
    return seen


def _found_by_name(pid: int) -> Optional[Snapshot]:
    try:
        return scoreboard_of(pid)
    except Unwatched:
        raise
    except target.CannotLook:
        return None


def _watches(seen: Snapshot) -> bool:
    """Return whether readiness watches over the workers, as far as any have started."""
    return bool(seen.header.worker_count) and all(row.spawns or not row.pid for row in seen.workers)


def _by_processes(arguments: argparse.Namespace, pid: int, why: str) -> int:
    """Report which processes run in an instance that readiness does not watch: a probe must not end
    it because readiness is switched off.
    """
    # what a worker itself starts is no worker; without a master, the process itself serves
    forked = target.family(pid)
    workers = [each for each in procfs.children(pid) if each in forked] or [pid]
    good = arguments.live or len(workers) >= arguments.workers
    report: Report = [
        {
            "worker": None, "pid": each, "state": "runs", "ready": good, "failures": 0, "why": "",
            "degraded": "",
        }
        for each in workers
    ]  # fmt: skip
    _print(arguments, pid, good, f"readiness is off: {printable(why, REASON_LIMIT)}", report)
    return 0 if good else 1


def _who_lives(master: int) -> Callable[[WorkerRow], bool]:
    """Return the function that tells whether the worker of a row runs: its pid there is that of its
    own pid namespace.
    """
    if procfs.inner_pid(master) == master:
        return WorkerRow.alive
    inner = {procfs.inner_pid(each) for each in target.family(master)}
    return lambda row: row.pid in inner


def worker(number: int, row: WorkerRow, alive: bool) -> Dict[str, object]:
    """Return what is known about a worker."""
    why = row.problem or ("" if row.state == SERVING else row.error)
    if row.state == UNWATCHED:
        why = ""
    elif row.state == DRAINED:  # the text is its predecessor's, which was on its way out
        why = "draining: serves nothing"
    else:
        why = _silent(row) or why
    serves = row.state == UNWATCHED or (row.state == SERVING and bool(row.ready))
    return {
        "worker": number, "pid": row.pid, "state": STATES[row.state],
        "ready": alive and not why and serves, "failures": row.failures, "why": why,
        "degraded": row.degraded,
    }  # fmt: skip


def _silent(row: WorkerRow) -> str:
    now = time.monotonic()
    silent = now - row.checked_at
    # `checked_at` may be its predecessor's, when it has just begun to serve
    if row.state == SERVING and min(silent, now - row.since) > STALE_SECONDS:
        return f"has not examined itself for {silent:.0f} s"
    return ""


def _note_full_log(master: int, report: Report) -> None:
    """Mark those that are stuck writing their log as not ready; all of them, if the master is."""
    family = target.family(master)
    if not any(map(_may_be_writing, family)):
        return
    from ..host import pipes  # which imports much

    outer = pipes.stuck_in_log(family)
    inner = {procfs.inner_pid(pid) for pid in outer}
    for each in report:
        if master in outer or each["pid"] in inner:
            whose = "its master's" if master in outer else "its"
            stuck = (
                f"{whose} log is full, and a thread is stuck writing it "
                f"(resilient-wsgi unstick {master})"
            )
            each.update(ready=False, why=each["why"] or stuck)


def _may_be_writing(pid: int) -> bool:
    return any(procfs.sleeps_in_write(pid, tid) for tid in procfs.tasks(pid))


def _print(arguments: argparse.Namespace, pid: int, good: bool, state: str, report: Report) -> None:
    word = ("" if good else "not ") + ("live" if arguments.live else "ready")
    lines = [f"{word}{f' ({state})' if state else ''}", *map(_line, report)]
    answer(arguments, {"pid": pid, "status": word, "state": state, "workers": report}, lines)


def _line(each: Dict[str, object]) -> str:
    texts = [str(each[key]) for key in ("why", "degraded") if each[key]]
    why = "; ".join([printable(text, REASON_LIMIT) for text in texts])
    # a router or a mule has no number, and it may be one of them
    who = (
        f"worker {each['worker']} (pid {each['pid']})"
        if each["worker"]
        else f"process {each['pid']}"
    )
    return f"{who} {each['state']}{why and f': {why}'}"
