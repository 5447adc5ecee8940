"""What report mode has noticed, and which calls were ended, in all processes of an instance: a
journal in the instance's private directory, which outlives each of them.

Every worker adds what it has noticed since it last did. `resilient-wsgi report` reads the journal
from outside.
"""

from __future__ import annotations

from typing import Iterable, List, Optional

from ..errors import Unavailable
from ..shm import instance
from ..shm.directory import Directory
from ..shm.journal import Entry, Journal
from . import pending
from .call_sites import Site, Sites, count

NAME = "outbound"


def add(noticed: Iterable[Site]) -> bool:
    """Add to what the instance has noticed.

    Returns False, at once, if another process does so just now. Raises `OSError`, `Unavailable`.
    """
    return Journal(NAME).add(
        {
            f"{site.site}\0{site.problem}".encode(errors="replace"): Entry(
                site.count, site.worst, site.host.encode(errors="replace")
            )
            for site in noticed
        }
    )


def read(pid: int) -> List[Site]:
    """Return what the instance of a process has noticed, the most frequent first.

    Waits for no writer. Raises `FileNotFoundError` if there is nothing: nothing was noticed, or it
    is not in report mode; `PermissionError`, `ProcessLookupError` if it cannot be looked at.
    """
    directory = _directory(pid)
    found = merge([*pending.read(directory), *_noticed(directory)]) if directory is not None else []
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


def merge(sites: Iterable[Site]) -> List[Site]:
    """Return one entry for each call site and problem, the most frequent first."""
    merged: Sites = {}
    for site in sites:
        count(merged, site)
    return sorted(merged.values(), key=lambda site: (site.count, site.worst), reverse=True)


def _directory(pid: int) -> Optional[Directory]:
    try:
        return instance.find(pid)
    except (FileNotFoundError, Unavailable):
        return None


def _noticed(directory: Directory) -> List[Site]:
    try:
        entries = Journal.read(directory, NAME)
    except (FileNotFoundError, Unavailable):
        return []
    return [_site(key, entry) for key, entry in entries.items()]


def _site(key: bytes, entry: Entry) -> Site:
    line, _, problem = key.decode(errors="replace").partition("\0")
    host = entry.note.decode(errors="replace")
    return Site(line, host, problem, entry.count, entry.worst)
