"""Print the stacks of all threads of each worker of a running instance, with the requests that run in it.

Works from outside, by the pid of the master or of one worker, also when all threads are blocked in a write or C code holds
the GIL. The workers need nothing but an app that was wrapped (REQUEST.STACKS_SIGNAL). Needs the right to send them signals
and to read their /proc/PID/fd (the same user, or root). Exit code 1 if no worker has answered.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from typing import Iterator, List, Optional

from .cli import target
from .cli.output import say
from .cli.status import family
from .errors import Unavailable
from .request import on_signal
from .request.records import Region, regions
from .request.shared import view
from .system import SYSTEM, System

PATIENCE = 3.0
# the dump is complete when it has not grown for this long: it has no end mark
QUIET = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `stacks` takes."""
    target.add_target(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the stacks; return 1 if there were none."""
    answered = 0
    for process in family(target.given(arguments)):
        found = on_signal.find(process.pid)
        if found is None:
            continue
        text = ask(process.pid, *found)
        answered += bool(text)
        say(f"=== {process.pid} {process.command}", *_requests(process.pid), *(text or "no answer").split("\n"), "")
    if not answered:
        say("no process here writes its stacks at a signal: is the app wrapped, REQUEST.STACKS_SIGNAL set?")
    return 0 if answered else 1


def ask(pid: int, path: str, signum: int, system: System = SYSTEM) -> str:
    """Return what a process writes at the signal, `""` if that does not come within some seconds."""
    with open(path, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # somebody else may ask at the same time
        file.truncate(0)
        os.kill(pid, signum)
        until = system.monotonic() + PATIENCE
        size = grown = 0.0
        while system.monotonic() < until:
            now = os.fstat(file.fileno()).st_size
            if now != size:
                size, grown = now, system.monotonic()
            elif size and system.monotonic() - grown > QUIET:
                break
            time.sleep(0.01)
        file.seek(0)
        return file.read().decode(errors="replace").rstrip()


def _requests(pid: int) -> Iterator[str]:
    region = _region(pid)
    if region is None:
        return
    now = time.monotonic()
    found = sorted(region.requests(), key=lambda request: request.begun)
    for request in found:
        doing = f", waiting for {request.doing}" if request.doing else ""
        yield f"{request.what} for {now - request.begun:.2f} s{doing}"
    if not found:
        yield "no request runs"


def _region(pid: int) -> Optional[Region]:
    try:
        shared = view(pid)
    except (OSError, Unavailable):
        return None
    mine: List[Region] = [region for region in regions(shared) if region.owner[0] == pid]
    return mine[0] if mine else None
