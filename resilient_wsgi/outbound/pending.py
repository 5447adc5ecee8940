"""Dry run: what a process waits for just now, in a file of the instance's directory, for
`resilient-wsgi report`.

A call that hangs never comes to its end, where the others are counted, and its worker may run no
code at all meanwhile. So each wait is written down before it begins, and struck out when it ends:
not in the scoreboard, whose rows are of the threads that work on requests, and whose names are few.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import struct
from typing import Iterator, List, Optional

from ..core.system import SYSTEM, PerProcess
from ..errors import Unavailable
from ..shm import instance
from ..shm.directory import Directory
from ..shm.naming import file_name, file_numbers
from . import site_journal
from .call_sites import Site, Sites, count

FILE = "waits"  # then the pid
SLOTS, SLOT_BYTES = 64, 512
LISTED_AFTER = 1.0
"""Seconds after which a wait is listed: most are over by then."""

# since when, on the monotonic clock, which all processes share; the length of the text
_HEAD = struct.Struct("<dH")
NONE = -1
WAITS = "still waits for an answer"
ENDED = "waited for an answer when its worker ended"


class Pending:
    """The waits of one process: each has a slot, which only its own thread writes."""

    def __init__(self) -> None:
        self._map: Optional[mmap.mmap] = None
        self._free: List[int] = []
        try:
            self._map = _create(instance.directory(), file_name(FILE, os.getpid()))
            self._free = list(range(SLOTS))
        except (OSError, Unavailable):  # then they are not listed
            pass

    def begin(self, text: bytes) -> int:
        """Note that a wait begins; return its slot for `end`."""
        try:
            slot = self._free.pop()
        except IndexError:
            return NONE
        at = slot * SLOT_BYTES
        text = text[: SLOT_BYTES - _HEAD.size]
        memory: mmap.mmap = self._map  # type: ignore[assignment]
        memory[at + _HEAD.size : at + _HEAD.size + len(text)] = text
        _HEAD.pack_into(memory, at, SYSTEM.monotonic(), len(text))
        return slot

    def end(self, slot: int) -> None:
        """Strike it out."""
        if slot != NONE:
            _HEAD.pack_into(self._map, slot * SLOT_BYTES, 0.0, 0)  # type: ignore[arg-type]
            self._free.append(slot)


def _create(directory: Directory, name: str) -> mmap.mmap:
    _take_over(directory, [each for each in _files(directory) if not _is_alive(directory, each)])
    fd = directory.create(name, SLOTS * SLOT_BYTES)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # the map keeps it
        return mmap.mmap(fd, SLOTS * SLOT_BYTES)
    finally:
        os.close(fd)


def _take_over(directory: Directory, left: List[str]) -> None:
    """Add to what the instance has noticed what processes waited for that have ended meanwhile."""
    sites: Sites = {}
    for name in left:
        for site in _waits(directory, name, ENDED):
            count(sites, site)
    if not sites or site_journal.add(sites.values()):  # else the next process does it
        for name in left:
            directory.unlink(name)


def _files(directory: Directory) -> List[str]:
    return [name for name in directory.names() if file_numbers(name, FILE, 1)]


def _is_alive(directory: Directory, name: str) -> bool:
    """Tell whether the process that has made a file is there still: its number may mean nothing
    here, in another container.
    """
    fd = directory.open(name, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def read(directory: Directory) -> Iterator[Site]:
    """Yield what the processes of an instance wait for, and have for a second; of those that
    have ended, what they waited for, until another process has added it to what was noticed.
    """
    for name in _files(directory):
        yield from _waits(directory, name, WAITS if _is_alive(directory, name) else ENDED)


def _waits(directory: Directory, name: str, problem: str) -> Iterator[Site]:
    now = SYSTEM.monotonic()
    fd = directory.open(name, os.O_RDONLY)
    try:
        data = os.pread(fd, SLOTS * SLOT_BYTES, 0)
    finally:
        os.close(fd)
    for at in range(0, len(data) - SLOT_BYTES + 1, SLOT_BYTES):
        since, length = _HEAD.unpack_from(data, at)
        if length and now - since > LISTED_AFTER:
            yield from _parse(data[at + _HEAD.size :][:length], problem, now - since)


def _parse(text: bytes, problem: str, seconds: float) -> Iterator[Site]:
    try:
        site, host = json.loads(text)
    except (ValueError, TypeError):  # it is being written
        return
    yield Site(str(site), str(host), problem, 1, seconds)


def entry(site: str, host: str) -> bytes:
    """Return the text of a wait: JSON that fits into a slot."""
    for most in (SLOT_BYTES, 150, 50):
        text = json.dumps([site[-most:], host[:most]]).encode()
        if len(text) <= SLOT_BYTES - _HEAD.size:
            return text
    return b""


_pending = PerProcess(Pending)


def here() -> Pending:
    """Return the waits of this process."""
    return _pending.get()
