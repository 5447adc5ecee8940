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
from . import pending, site_journal
from .call_sites import Site, Sites, count
from .site_journal import add

__all__ = ["add", "exists", "merge", "read"]


def read(pid: int) -> List[Site]:
    """Return what the instance of a process has noticed, the most frequent first.

    Waits for no writer. Raises `FileNotFoundError` if there is nothing: nothing was noticed, or it
    is not in report mode; `PermissionError`, `ProcessLookupError` if it cannot be looked at.
    """
    directory = _directory(pid)
    found = (
        merge([*pending.read(directory), *site_journal.read(directory)])
        if directory is not None
        else []
    )
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
