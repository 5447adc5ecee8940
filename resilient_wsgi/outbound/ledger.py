"""What report mode has noticed in all processes of an instance: a file in memory that outlives each of them.

Every worker adds what it has noticed since it last did. `resilient-wsgi report` reads the file from outside.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import stat
from dataclasses import astuple
from typing import Iterable, List

from ..instance import PREFIX, folder, path_for, started, sweep
from .sites import MOST_SITES, Site, Sites, count

_KIND = "outbound"


def add(master_pid: int, noticed: Iterable[Site]) -> bool:
    """Add to what the instance has noticed. Returns False, at once, if another process is just doing so. Raises `OSError`."""
    path = path_for(master_pid, _KIND)
    if not os.path.exists(path):  # once for an instance
        sweep()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "r+", encoding="utf-8") as file:
        if os.fstat(fd).st_uid != os.geteuid():
            msg = f"{path} is not a file of ours"
            raise PermissionError(msg)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        known = merge([*_parse(file.read()), *noticed])
        file.seek(0)
        file.truncate()
        json.dump([astuple(site) for site in known[:MOST_SITES]], file)
    return True


def read(master_pid: int, uids: Iterable[int]) -> List[Site]:
    """Return what the instance with that master has noticed, in files of these users only, the most frequent first.

    Raises `FileNotFoundError` if there is no such file: nothing was noticed, or it is not in report mode.
    """
    found: List[Site] = []
    paths = glob.glob(os.path.join(glob.escape(folder()), f"{PREFIX}.*.{master_pid}.{started(master_pid)}.{_KIND}"))
    allowed = set(uids)
    files = 0
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, encoding="utf-8") as file:
            about = os.fstat(fd)
            if about.st_uid in allowed and stat.S_ISREG(about.st_mode):
                fcntl.lockf(fd, fcntl.LOCK_SH)
                found += _parse(file.read())
                files += 1
    if not files:
        msg = f"no process of the instance of {master_pid} has noticed a call: is OUTBOUND MODE = report set there?"
        raise FileNotFoundError(msg)
    return merge(found)


def merge(sites: Iterable[Site]) -> List[Site]:
    """Return one entry for each call site and problem, the most frequent first."""
    merged: Sites = {}
    for site in sites:
        count(merged, site)
    return sorted(merged.values(), key=lambda site: (site.count, site.worst), reverse=True)


def _parse(text: str) -> List[Site]:
    try:
        return [Site(*row) for row in json.loads(text or "[]")]
    except (ValueError, TypeError):  # its writer was killed in the middle
        return []
