"""First aid for an instance whose threads are stuck in writing their log: says in which pipe, and frees them if told to.

Nothing is changed without --grow or --drain. Both free the threads that are stuck now; who ought to read the pipe still does
not, so they will be stuck again when it is full again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from typing import List

from ..cli.output import say
from . import stuck
from .kernel import F_SETPIPE_SZ

ALL_FREE, STUCK = 0, 1
QUIET_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("pid", type=int, help="of the instance's master; its descendants are looked at too")
    parser.add_argument(
        "--grow",
        type=int,
        nargs="?",
        const=1 << 20,
        metavar="BYTES",
        help="make the pipe larger (1 MiB unless told otherwise; more than fs.pipe-max-size takes root)",
    )
    parser.add_argument("--drain", metavar="FILE", help="read what is in the pipe and append it to this file")
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="how long to go on draining at most, while more is written (default: 5)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Say what is stuck, free it if told to; return 0 if nothing is stuck (any more), 1 if something is.

    Raises `OSError` where the process is not there or may not be looked at, or the pipe not be opened.
    """
    pipes = stuck.find(arguments.pid)
    for pipe in pipes:
        _print("\n".join(describe(pipe)))
        if arguments.grow:
            _print(f"  now {grow(pipe, arguments.grow)} bytes large")
        if arguments.drain:
            _print(f"  {drain(pipe, arguments.drain, arguments.seconds)} bytes appended to {arguments.drain}")
    if pipes and (arguments.grow or arguments.drain):
        time.sleep(QUIET_SECONDS)  # for the threads to go on
        pipes = stuck.find(arguments.pid)
    _print(
        "threads are stuck" if pipes else f"no thread of process {arguments.pid} and its children is stuck in a pipe"
    )
    return STUCK if pipes else ALL_FREE


def describe(pipe: stuck.FullPipe) -> List[str]:
    """Return what there is to say of a pipe, in lines."""
    processes = sorted({thread.pid for thread in pipe.threads})
    writers = "; ".join(
        f"process {pid}: " + ", ".join(f"thread {t.tid} (descriptor {t.fd})" for t in pipe.threads if t.pid == pid)
        for pid in processes
    )
    readers = ", ".join(f"{holder.pid} ({holder.name})" for holder in pipe.holders)
    return [
        f"pipe:[{pipe.inode}] holds {pipe.fill_bytes} of {pipe.size_bytes} bytes",
        f"  stuck in it: {writers}",
        f"  should read it: {readers or 'nobody that can be seen from here'}",
    ]


def grow(pipe: stuck.FullPipe, size_bytes: int) -> int:
    """Make the pipe at least so large, which wakes those who wait for room; return how large it is now."""
    fd = os.open(pipe.path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        return fcntl.fcntl(fd, F_SETPIPE_SZ, size_bytes)
    finally:
        os.close(fd)


def drain(pipe: stuck.FullPipe, path: str, seconds: float) -> int:
    """Append what is in the pipe to a file until nothing comes for a moment, at most so long; return how many bytes."""
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


def _print(text: str) -> None:
    say(*text.split("\n"))
