"""What a worker could not say before its end is said by the one that takes its place.

A small file for each in memory, named by the instance: the pid of the master and when it was started, which a reload of
uWSGI keeps. Who unlinks it has it, so there is no lock. What an instance leaves that ended as a whole, the next one of the
same user sweeps.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from typing import Iterator, Tuple

from .. import servers
from ..instance import folder, started
from ..system import SYSTEM
from .spill import Dropped

PREFIX = "resilient_wsgi_dropped"
NAME = re.compile(
    PREFIX + r"\.(\d+)\.(\d+)\.(\d+)\.(\d+)\.\d+\.\d+"
)  # user, master, its start; descriptor, pid, number

_numbers = itertools.count()


def leave(fd: int, dropped: Dropped) -> None:
    """Leave a count for a successor, where there will be one: in a worker. Raises nothing."""
    instance = _instance()
    if dropped.size_bytes and instance[0]:
        name = ".".join(map(str, (PREFIX, os.geteuid(), *instance, fd, SYSTEM.getpid(), next(_numbers))))
        with contextlib.suppress(OSError):
            file = os.open(os.path.join(folder(), name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, b"%d %d" % dropped)
            finally:
                os.close(file)


def take(fd: int) -> Dropped:
    """Return what those who have ended left of this descriptor, and only once. Raises nothing."""
    lines = size_bytes = 0
    instance = _instance()
    if instance[0]:
        for path, master, of_fd in _left():
            if master == instance and of_fd == fd:
                with contextlib.suppress(OSError, ValueError):
                    left = _read(path)
                    lines, size_bytes = lines + left.lines, size_bytes + left.size_bytes
            elif master[1] != started(master[0]):
                with contextlib.suppress(OSError):
                    os.unlink(path)
    return Dropped(lines, size_bytes)


def _instance() -> Tuple[int, int]:
    identity = servers.detect().identity()
    master = 0 if identity.master_pid == identity.pid else identity.master_pid
    return master, started(master) if master else 0


def _left() -> Iterator[Tuple[str, Tuple[int, int], int]]:
    with contextlib.suppress(OSError):
        for name in os.listdir(folder()):
            match = NAME.fullmatch(name)
            if match:
                user, master, when, fd = map(int, match.groups())
                if user == os.geteuid():
                    yield os.path.join(folder(), name), (master, when), fd


def _read(path: str) -> Dropped:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if os.fstat(file).st_uid != os.geteuid():  # anybody may make files there
            return Dropped(0, 0)
        text = os.read(file, 100)
    finally:
        os.close(file)
    os.unlink(path)  # another successor may have been quicker: then this raises
    lines, size_bytes = map(int, text.split())
    return Dropped(lines, size_bytes)
