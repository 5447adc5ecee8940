"""What report mode has noticed, and which calls were ended, in all processes of an instance.

It is in a file of the instance's private directory, which outlives each of them.

Every worker adds what it has noticed since it last did. `resilient-wsgi report` reads the file from
outside.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import Iterable, List, Optional

from ..errors import Unavailable
from ..shm import instance
from ..shm.directory import Directory
from ..shm.space import allocate
from . import pending
from .call_sites import MOST_SITES, Site, Sites, count

NAME = "outbound"
MOST_BYTES = 1 << 22


def add(noticed: Iterable[Site]) -> bool:
    """Add to what the instance has noticed.

    Returns False, at once, if another process is just doing so.

    Raises `OSError`, `Unavailable`.
    """
    fd = instance.directory().open(NAME, os.O_RDWR | os.O_CREAT)
    with open(fd, "r+b", buffering=0) as file:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        known = merge([*_parse(_read(fd)), *noticed])
        text = json.dumps([tuple(site._asdict().values()) for site in known[:MOST_SITES]]).encode()
        allocate(fd, len(text))  # without room, what is there already stays
        file.write(text)
        file.truncate(len(text))
    return True


def read(pid: int) -> List[Site]:
    """Return what the instance of a process has noticed, the most frequent first.

    Waits for no writer.

    Raises `FileNotFoundError` if there is nothing: nothing was noticed, or it is not in report
    mode; `PermissionError`, `ProcessLookupError` if it could not be looked at.
    """
    directory = _directory(pid)
    waiting = [] if directory is None else list(pending.read(directory))
    try:
        fd = -1 if directory is None else directory.open(NAME, os.O_RDONLY)
    except (FileNotFoundError, Unavailable):
        fd = -1
    try:
        found = merge([*waiting, *(_parse(_read(fd)) if fd >= 0 else [])])
    finally:
        if fd >= 0:
            os.close(fd)
    if not found:
        msg = (
            f"nothing to report of the instance of process {pid}: no outbound call was given up. "
            "Calls without a timeout, and those longer than the limits, are noted only with "
            "OUTBOUND.MODE = report"
        )
        raise FileNotFoundError(msg)
    return found


def exists(pid: int) -> bool:
    """Return whether the instance of a process has a directory, as one has in which a worker serves
    a wrapped app.
    """
    return _directory(pid) is not None


def _directory(pid: int) -> Optional[Directory]:
    try:
        return instance.find(pid)
    except (FileNotFoundError, Unavailable):
        return None


def merge(sites: Iterable[Site]) -> List[Site]:
    """Return one entry for each call site and problem, the most frequent first."""
    merged: Sites = {}
    for site in sites:
        count(merged, site)
    return sorted(merged.values(), key=lambda site: (site.count, site.worst), reverse=True)


def _read(fd: int) -> bytes:
    return os.pread(fd, MOST_BYTES, 0)


def _parse(text: bytes) -> List[Site]:
    try:
        return [Site(*row) for row in json.loads(text or b"[]")]
    except (ValueError, TypeError):  # its writer was killed, or is, in the middle
        return []
