"""Which file the scoreboard of an instance is: how large, who makes it, and who joins."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import NamedTuple, Optional, Tuple

from .. import servers
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..host import procfs
from ..servers.gunicorn import Boot
from . import instance
from .allocation import allocate
from .directory import Directory
from .layout import HEADER_BYTES, NAME, Geometry, Header, NotAScoreboard
from .locks import lock
from .snapshot import Snapshot

SPARE = 8  # rows for processes without a worker's number: mules, spoolers
CLAIMED = 64  # rows where workers have no numbers, and how many there will be is not known
USUAL_THREADS = 16  # where the number is not known
ATTEMPTS = 10


class Opened(NamedTuple):
    """An open file, its geometry, and where it can be found from outside."""

    fd: int
    geometry: Geometry
    path: str


def master() -> Tuple[int, int]:
    """Return the pid of this instance's master, and when it was started."""
    identity = servers.detect().identity()
    return _started(identity.master_pid or identity.pid)


@functools.lru_cache(maxsize=4)
def _started(pid: int) -> Tuple[int, int]:
    return pid, procfs.start(pid)


def same(one: Tuple[int, int], other: Tuple[int, int]) -> bool:
    """Return whether both are the same master."""
    # when a master of another user was started cannot always be seen (hidepid)
    return one[0] == other[0] and (one[1] == other[1] or 0 in (one[1], other[1]))


def geometry_of(server: servers.Server) -> Geometry:
    """Return how many workers and threads the instance has, as far as that is known."""
    workers, boot = server.configuration.workers(), Boot.current()
    if workers:
        return Geometry(workers, SPARE, server.configuration.concurrency())
    # at a reload new ones come before the old ones go
    claimed = CLAIMED if boot is None else 2 * boot.workers + SPARE
    return Geometry(0, claimed, USUAL_THREADS)


def join(directory: Directory, geometry: Geometry) -> Opened:
    """Open the scoreboard in a directory, or be the first. Raises `Unavailable`, `OSError`."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            fd = directory.open(NAME)
            try:
                found = _geometry_in(fd)
                if found is not None and found.workers >= geometry.workers:
                    return Opened(fd, found, f"{directory.path}/{NAME}")
                lock(fd)
                if os.fstat(fd).st_nlink:  # else another worker was quicker
                    directory.unlink(NAME)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        with contextlib.suppress(FileExistsError):
            fd = directory.create(NAME, geometry.size, head=head(geometry))
            return Opened(fd, geometry, f"{directory.path}/{NAME}")
    msg = f"{directory.path}/{NAME} is removed again and again"
    raise Unavailable(msg)


def before_reload(directory: Directory) -> Optional[Snapshot]:
    """Return the scoreboard of the program that this one has replaced, None if it has left none."""
    for candidate in (directory, *instance.others_of_this_master(directory)):
        with contextlib.suppress(OSError, Unavailable, NotAScoreboard):
            return Snapshot(candidate)
    return None


def nameless(size: int) -> int:
    """Return a descriptor of memory that can be locked, -1 if there is no room for it, or no such
    thing: then it is mapped without one.
    """
    if not hasattr(os, "memfd_create"):
        return -1
    try:
        fd = os.memfd_create("resilient_wsgi_scoreboard")
    except OSError:
        return -1
    try:
        allocate(fd, size)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _geometry_in(fd: int) -> Optional[Geometry]:
    """Return the geometry of a file; None if it is of another version, before a reload, say."""
    header = Header(os.pread(fd, HEADER_BYTES, 0).ljust(HEADER_BYTES, b"\0"))
    with contextlib.suppress(NotAScoreboard):
        found = header.geometry()
        if os.fstat(fd).st_size >= found.size:
            return found
    return None


def head(geometry: Geometry) -> bytes:
    """Return the fixed part of the header of a new scoreboard."""
    memory = bytearray(Header.FIXED.size)
    space = procfs.pid_namespace()
    Header(memory).fix(geometry, *master(), space, SYSTEM.monotonic())
    return bytes(memory)
