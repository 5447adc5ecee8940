"""Show the threads of an instance that are stuck in writing their log, and free them on request.

Nothing is changed without --grow or --drain. Both free the threads that are stuck in a pipe now.
Its reader still does not read, so they get stuck again once the pipe is full again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from typing import Dict, List, Optional

from ..core.text import printable
from ..host import pipes
from ..host.linux import F_SETPIPE_SZ
from . import target
from .output import answer

EXIT_CODES = {
    0: "no thread is stuck",
    1: "some are",
    2: "the process, or one of its descendants, cannot be looked at",
}
JSON = {
    "pid": "the master",
    "processes": "how many were looked at",
    "stuck": "whether a thread is stuck now",
    "logs[].kind": "`pipe` or `socket`",
    "logs[].inode": "",
    "logs[].fill_bytes": "what it holds, 0 for a socket",
    "logs[].size_bytes": "for how much there is room, 0 for a socket",
    "logs[].writers[].pid": "",
    "logs[].writers[].tid": "the thread that is stuck",
    "logs[].writers[].fd": "the descriptor that it writes to",
    "logs[].readers[].pid": "who should read it",
    "logs[].readers[].name": "",
    "logs[].grown_bytes": "how large it was made (--grow), else null",
    "logs[].drained_bytes": "how much was read out of it (--drain), else null",
}
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
        help="make the pipe larger (default: 1 MiB; more than fs.pipe-max-size takes root)",
    )
    parser.add_argument(
        "--drain", metavar="FILE", help="read what is in the pipe and append it to this file"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="drain for at most this long while more is written (default: %(default)g)",
    )


class Log:
    """A log in which threads are stuck, and what was done about it."""

    def __init__(self, full: pipes.FullLog, arguments: argparse.Namespace) -> None:
        self.full = full
        self.grown_bytes: Optional[int] = None
        self.drained_bytes: Optional[int] = None
        self._path = arguments.drain
        if full.is_pipe and arguments.grow:
            self.grown_bytes = grow(full, arguments.grow)
        if full.is_pipe and arguments.drain:
            self.drained_bytes = drain(full, arguments.drain, arguments.seconds)

    def lines(self) -> List[str]:
        """Return what there is to say of it."""
        lines = describe(self.full)
        if self.grown_bytes is not None:
            lines.append(f"  now {self.grown_bytes} bytes large")
        if self.drained_bytes is not None:
            lines.append(f"  {self.drained_bytes} bytes appended to {self._path}")
        return lines

    def fields(self) -> Dict[str, object]:
        """Return the same as data."""
        full = self.full
        return {
            "kind": full.kind,
            "inode": full.inode,
            "fill_bytes": full.fill_bytes,
            "size_bytes": full.size_bytes,
            "writers": [{"pid": t.pid, "tid": t.tid, "fd": t.fd} for t in full.threads],
            "readers": [{"pid": each.pid, "name": each.name} for each in full.holders],
            "grown_bytes": self.grown_bytes,
            "drained_bytes": self.drained_bytes,
        }


def run(arguments: argparse.Namespace) -> int:
    """Show what is stuck, free it on request; return 0 if nothing is stuck (any more), 1 if
    something is.

    Raises `CannotLook` where the process or one of its descendants may not be looked at, `OSError`
    where a pipe cannot be opened.
    """
    pid = target.master(arguments)
    logs = [Log(each, arguments) for each in pipes.full_logs(pid)]
    is_stuck = bool(logs)
    if is_stuck and (arguments.grow or arguments.drain):
        time.sleep(QUIET_SECONDS)  # for the threads to go on
        is_stuck = bool(pipes.full_logs(pid))
    hidden = pipes.hidden(pid)
    if hidden and not is_stuck:
        target.no_permission(hidden[0])
    count = len(pipes.tree(pid))
    fields = {
        "pid": pid,
        "processes": count,
        "stuck": is_stuck,
        "logs": [log.fields() for log in logs],
    }
    lines = [line for log in logs for line in log.lines()]
    answer(arguments, fields, [*lines, _verdict(pid, count, is_stuck)])
    return 1 if is_stuck else 0


def _verdict(pid: int, count: int, is_stuck: bool) -> str:
    if is_stuck:
        return "threads are stuck"
    family = f"process {pid}{target.name_of(pid)} and its {count - 1} descendants"
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
        f"  should read it: {readers or 'no process that can be seen from here'}",
    ]
    if not full.is_pipe:
        lines.append(
            "  a socket can be neither grown nor drained from outside. Fix: have its reader read "
            "again, or restart it (the journal: systemctl restart systemd-journald)"
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
