"""Say whether a running uWSGI instance is ready, from outside, without a request: an exec probe.

It reads the memory in which the workers keep what they know of themselves, so it does not wait
behind the app's requests, however full the listen queue is.
"""

from __future__ import annotations

import argparse
import time

from ..core.text import printable
from ..host import procfs
from ..readiness import unwatched
from ..readiness.board import DRAINED, SERVING, STATES, UNWATCHED, Slot
from ..readiness.glance import Glance, NoBoard
from . import target
from .output import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List

EXIT_CODES = {
    0: "ready (with --live: live)",
    1: "not ready (not live)",
    2: "it cannot be told: no such process, no permission, not an instance with this library",
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
MOST = 512  # characters of a reason
STALE_SECONDS = 15.0  # a worker that has not looked at itself for so long is stuck


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb `ready` takes."""
    target.add_target(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="only: does the master run, and a worker that is not stuck",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="how many must be ready (default: %(default)s)",
    )


class Unwatched(target.CannotLook):
    """Readiness is not on in the instance, for the reason `why`."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__(f"readiness is off in the instance of process {pid}: {why}")
        self.why = why


def board_of(pid: int, *, to_drain: bool = False) -> Glance:
    """Return the board of the instance with that master. Raises `target.CannotLook`."""
    try:
        # first: a board may be there all the same, which no worker writes
        why = unwatched.read(pid)
        if why:
            raise Unwatched(pid, why)
        return Glance(pid, to_drain=to_drain)
    except PermissionError:
        target.no_permission(pid)
    except ProcessLookupError:
        msg = f"there is no process {pid} any more"
        raise target.CannotLook(msg) from None
    except NoBoard as reason:
        if not str(reason):
            if to_drain:
                target.not_ours(
                    pid,
                    gunicorn="SIGTERM drains: the master ends when its workers have finished their requests",
                )
            target.not_ours(pid)
        msg = f"the instance of process {pid} {reason}"
        raise target.CannotLook(msg) from None


def run(arguments: argparse.Namespace) -> int:
    """Say it in a line for each worker; return 0 or 1."""
    pid = target.master(arguments)
    try:
        board = board_of(pid)
    except Unwatched as reason:
        return _by_processes(arguments, pid, reason.why)
    alive = _who_lives(pid)
    report = [
        worker(number, slot, alive(slot))
        for number, slot in enumerate(board.slots, 1)
        if slot.spawns
    ]
    _note_full_log(pid, report)
    if arguments.live:
        good = any(alive(slot) and not _silent(slot) for slot in board.slots)
    else:
        good = (
            not board.head.draining
            and sum(bool(each["ready"]) for each in report) >= arguments.workers
        )
    degraded = any(each["degraded"] for each in report)
    state = "draining" if board.head.draining else "degraded" if degraded else ""
    _say(arguments, pid, _word(arguments, good=good), state, report)
    return 0 if good else 1


def _by_processes(arguments: argparse.Namespace, pid: int, why: str) -> int:
    """Say of an instance that does not watch itself which processes run: a probe is not to end it
    for being switched off.
    """
    # without a master, the process itself serves
    workers = target.family(pid)[1:] or [pid]
    good = arguments.live or len(workers) >= arguments.workers
    report: List[Dict[str, object]] = [
        {
            "worker": None,
            "pid": each,
            "state": "runs",
            "ready": good,
            "failures": 0,
            "why": "",
            "degraded": "",
        }
        for each in workers
    ]
    _say(
        arguments,
        pid,
        _word(arguments, good=good),
        f"readiness is off: {printable(why, MOST)}",
        report,
    )
    return 0 if good else 1


def _word(arguments: argparse.Namespace, *, good: bool) -> str:
    return ("" if good else "not ") + ("live" if arguments.live else "ready")


def _who_lives(master: int) -> Callable[[Slot], bool]:
    """Return what tells whether the worker of a slot runs, which has its pid there as its own
    namespace has it.
    """
    if procfs.inner_pid(master) == master:
        return Slot.alive
    inner = {procfs.inner_pid(each) for each in target.family(master)}
    return lambda slot: slot.pid in inner


def worker(number: int, slot: Slot, alive: bool) -> Dict[str, object]:
    """Return what is known of a worker."""
    why = slot.problem or ("" if slot.state == SERVING else slot.error)
    if slot.state == UNWATCHED:
        why = ""
    elif (
        slot.state == DRAINED
    ):  # what is written there is its predecessor's, which was on its way out
        why = "draining: serves nothing"
    else:
        why = _silent(slot) or why
    ready = (
        alive
        and not why
        and (slot.state == UNWATCHED or (slot.state == SERVING and bool(slot.ready)))
    )
    return {
        "worker": number, "pid": slot.pid, "state": STATES[slot.state], "ready": ready, "failures": slot.failures, "why": why,
        "degraded": slot.degraded,
    }  # fmt: skip


def _note_full_log(master: int, report: List[Dict[str, object]]) -> None:
    """Take for not ready those that are stuck in writing their log; all of them, if the master is."""
    if not any(map(_may_be_writing, target.family(master))):
        return
    from ..host import pipes  # which imports much

    outer = pipes.stuck_in_log(target.family(master))
    inner = {procfs.inner_pid(pid) for pid in outer}
    for each in report:
        if master in outer or each["pid"] in inner:
            whose = "its master's" if master in outer else "its"
            stuck_in = f"{whose} log is full, and a thread is stuck in writing it (resilient-wsgi unstick {master})"
            each.update(ready=False, why=each["why"] or stuck_in)


def _may_be_writing(pid: int) -> bool:
    return any(procfs.sleeps_in_write(pid, tid) for tid in procfs.tasks(pid))


def _silent(slot: Slot) -> str:
    silent = time.monotonic() - slot.checked_at
    # `looked` may be its predecessor's: it has just begun to serve
    if (
        slot.state == SERVING
        and silent > STALE_SECONDS
        and time.monotonic() - slot.since > STALE_SECONDS
    ):
        return f"has not looked at itself for {silent:.0f} s"
    return ""


def _say(
    arguments: argparse.Namespace, pid: int, word: str, state: str, report: List[Dict[str, object]]
) -> None:
    lines = [f"{word}{f' ({state})' if state else ''}"]
    for each in report:
        why = "; ".join(printable(str(each[key]), MOST) for key in ("why", "degraded") if each[key])
        why = why and f": {why}"
        # a number of none where it is not known whether it is a worker, as of a router or a mule
        who = (
            f"worker {each['worker']} (pid {each['pid']})"
            if each["worker"]
            else f"process {each['pid']}"
        )
        lines.append(f"{who} {each['state']}{why}")
    fields = {"pid": pid, "status": word, "state": state, "workers": report}
    answer(arguments, fields, lines)
