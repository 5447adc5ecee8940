"""The call sites that the processes of an instance have noticed, in a journal in its directory."""

from __future__ import annotations

from typing import Iterable, List

from ..errors import Unavailable
from ..shm.directory import Directory
from ..shm.journal import Entry, Journal
from .call_sites import Site

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


def read(directory: Directory) -> List[Site]:
    """Return what the instance of a directory has noticed. Waits for no writer."""
    try:
        entries = Journal.read(directory, NAME)
    except (FileNotFoundError, Unavailable):
        return []
    return [_site(key, entry) for key, entry in entries.items()]


def _site(key: bytes, entry: Entry) -> Site:
    line, _, problem = key.decode(errors="replace").partition("\0")
    host = entry.note.decode(errors="replace")
    return Site(line, host, problem, entry.count, entry.worst)
