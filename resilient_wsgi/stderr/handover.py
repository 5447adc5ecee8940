"""Hand over the count of dropped lines: the successor of a worker reports what it could not.

One small file for each count in the private directory of the instance, which survives a reload of
uWSGI. The process that unlinks a file owns its count, so there is no lock: a journal may refuse an
entry while another process writes, and a worker that exits cannot come again.
"""

from __future__ import annotations

import contextlib
import itertools
import os

from .. import servers
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..shm import instance
from ..shm.directory import Directory
from ..shm.naming import file_name, file_numbers
from .buffer import Dropped

FILE = "dropped"  # then descriptor, pid, number

_numbers = itertools.count()


def leave(fd: int, dropped: Dropped) -> None:
    """Leave a count for the successor of this worker; a no-op in other processes. Never raises."""
    if dropped.size_bytes and _in_worker():
        name = file_name(FILE, fd, SYSTEM.getpid(), next(_numbers))
        with contextlib.suppress(OSError, Unavailable):
            file = instance.directory().open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.write(file, b"%d %d" % dropped)
            finally:
                os.close(file)


def take(fd: int) -> Dropped:
    """Return, once, what exited processes dropped on this descriptor. Never raises."""
    lines = size_bytes = 0
    if _in_worker():
        with contextlib.suppress(OSError, Unavailable):
            directory = instance.directory(make=False)
            for name in directory.names():
                numbers = file_numbers(name, FILE, 3)
                if numbers is not None and numbers[0] == fd:
                    with contextlib.suppress(OSError, Unavailable, ValueError):
                        left = _take(directory, name)
                        lines, size_bytes = lines + left.lines, size_bytes + left.size_bytes
    return Dropped(lines, size_bytes)


def _in_worker() -> bool:
    identity = servers.detect().identity()
    return bool(identity.master_pid) and identity.master_pid != identity.pid


def _take(directory: Directory, name: str) -> Dropped:
    file = directory.open(name, os.O_RDONLY)
    try:
        text = os.read(file, 100)
    finally:
        os.close(file)
    if not directory.unlink(name):  # another successor was faster
        return Dropped(0, 0)
    lines, size_bytes = map(int, text.split())
    return Dropped(lines, size_bytes)
