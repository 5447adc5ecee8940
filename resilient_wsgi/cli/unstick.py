"""Show the threads of an instance that are stuck in writing their log, and free them if told to.

Nothing is changed without --grow or --drain. Both free the threads that are stuck in a pipe now;
its reader still does not read, so they will be stuck again when it is full again. Exit code 0: no
thread is stuck; 1: some are; 2: could not look.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from typing import List

from ..core.text import printable
from ..host import pipes
from ..host.linux import F_SETPIPE_SZ
from . import target
from .output import say

ALL_FREE, STUCK = 0, 1
QUIET_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    target.add_target(parser)
    parser.add_argument(
        "--grow",
        type=int,
        nargs="?",
        const=1 << 20,
        metavar="BYTES",
        help="make the pipe larger (1 MiB unless told otherwise; more than fs.pipe-max-size takes root)",
    )
    parser.add_argument(
        "--drain", metavar="FILE", help="read what is in the pipe and append it to this file"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="how long to go on draining at most, while more is written (default: 5)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Say what is stuck, free it if told to; return 0 if nothing is stuck (any more), 1 if
    something is.

    Raises `CannotLook` where the process or one of its descendants may not be looked at, `OSError`
    where a pipe cannot be opened.
    """
    pid = target.master(arguments)
    found = pipes.full_logs(pid)
    for each in found:
        say(*describe(each))
        if each.is_pipe and arguments.grow:
            say(f"  now {grow(each, arguments.grow)} bytes large")
        if each.is_pipe and arguments.drain:
            say(
                f"  {drain(each, arguments.drain, arguments.seconds)} bytes appended to {arguments.drain}"
            )
    if found and (arguments.grow or arguments.drain):
        time.sleep(QUIET_SECONDS)  # for the threads to go on
        found = pipes.full_logs(pid)
    hidden = pipes.hidden(pid)
    if hidden and not found:
        target.no_permission(hidden[0])
    say(_verdict(pid, bool(found)))
    return STUCK if found else ALL_FREE


def _verdict(pid: int, is_stuck: bool) -> str:
    if is_stuck:
        return "threads are stuck"
    family = f"process {pid}{target.name_of(pid)} and its {len(pipes.tree(pid)) - 1} descendants"
    return f"no thread of {family} is stuck in a write to a pipe, or to a socket that is its log"


def describe(full: pipes.FullLog) -> List[str]:
    """Return what there is to say of a full log, in lines."""
    processes = sorted({thread.pid for thread in full.threads})
    writers = "; ".join(
        f"process {pid}: "
        + ", ".join(f"thread {t.tid} (descriptor {t.fd})" for t in full.threads if t.pid == pid)
        for pid in processes
    )
    readers = ", ".join(f"{holder.pid} ({printable(holder.name)})" for holder in full.holders)
    amount = f"holds {full.fill_bytes} of {full.size_bytes} bytes" if full.is_pipe else "is full"
    lines = [
        f"{full.kind}:[{full.inode}] {amount}",
        f"  stuck in it: {writers}",
        f"  should read it: {readers or 'nobody that can be seen from here'}",
    ]
    if not full.is_pipe:
        lines.append(
            "  a socket can be neither grown nor drained from outside. Fix: have its reader read again, or restart it "
            "(the journal: systemctl restart systemd-journald)"
        )
    return lines


def grow(pipe: pipes.FullLog, size_bytes: int) -> int:
    """Make the pipe at least so large, which wakes those who wait for room; return how large it is
    now.
    """
    fd = os.open(pipe.path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        return fcntl.fcntl(fd, F_SETPIPE_SZ, size_bytes)
    finally:
        os.close(fd)


def drain(pipe: pipes.FullLog, path: str, seconds: float) -> int:
    """Append what is in the pipe to a file until nothing comes for a moment, at most so long;
    return how many bytes.
    """
    end = time.monotonic() + seconds
    total, quiet_since = 0, time.monotonic()
    fd = os.open(pipe.path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with open(path, "ab") as file:
            while time.monotonic() < min(end, quiet_since + QUIET_SECONDS):
                try:
                    data = os.read(fd, 1 << 20)
                except BlockingIOError:
                    time.sleep(0.01)
                    continue
                file.write(data)
                total, quiet_since = total + len(data), time.monotonic()
    finally:
        os.close(fd)
    return total
