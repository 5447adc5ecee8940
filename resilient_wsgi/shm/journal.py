"""Counts that all processes of an instance add to, and that outlive each of them: a file in its
private directory.

A journal knows nothing of what it counts: its entries have a key, a count, the worst value, and a
note, all of which are the business of who uses it. A new version of the file replaces the old one
at once, so readers take no lock, and a writer that is killed in the middle has changed nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from typing import Dict, Iterator, Mapping, NamedTuple, Optional

from ..core.record import Record
from . import instance
from .directory import Directory

MAGIC = b"rwsgi jr 1\n"
MOST_BYTES = 1 << 22
MOST_ENTRIES = 1000
ATTEMPTS = 10
PAUSE = 0.005
_HEAD = struct.Struct("=HHQd")  # length of the key, of the note; count, worst


class Entry(Record):
    """How often something was counted, its worst value, and what the first to count it noted."""

    count: int
    worst: float = 0.0
    note: bytes = b""

    def plus(self, other: Entry) -> Entry:
        """Return both together, with the note of the first."""
        return Entry(self.count + other.count, max(self.worst, other.worst), self.note)


Entries = Mapping[bytes, Entry]


class Journal:
    """The journal of a name, to be written to, in the instance of this process."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<Journal {self._name}>"

    def add(self, entries: Entries, patience: float = 0.0) -> bool:
        """Add to what is counted; return whether that was done.

        It is not if another process writes just now, and for longer than `patience` seconds: keep
        the entries, and come again. Beyond a thousand entries the rarest are dropped. Raises
        `OSError`, `Unavailable`; what was there stays then.
        """
        with self._locked(patience) as (directory, known):
            if directory is None:
                return False
            for key, entry in entries.items():
                known[key] = known[key].plus(entry) if key in known else entry
            self._write(directory, known)
        return True

    def take(self, prefix: bytes = b"", patience: float = 0.0) -> Dict[bytes, Entry]:
        """Return the entries whose keys begin so, and remove them: who takes them has them.

        Nothing, if another process writes just now. Raises as `add` does; then nothing is removed.
        """
        with self._locked(patience) as (directory, known):
            taken = {key: entry for key, entry in known.items() if key.startswith(prefix)}
            if taken and directory is not None:
                rest = {key: entry for key, entry in known.items() if key not in taken}
                self._write(directory, rest)
        return taken

    @staticmethod
    def read(directory: Directory, name: str) -> Dict[bytes, Entry]:
        """Return what stands in the journal of an instance; it may be another one's.

        Waits for no writer. Raises `FileNotFoundError` if there is none, `OSError`, `Unavailable`.
        """
        fd = directory.open(name, os.O_RDONLY)
        try:
            return _parse(os.pread(fd, MOST_BYTES, 0))
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _locked(self, patience: float) -> Iterator[_Locked]:
        """Yield the directory and what is known; None and nothing if another process writes."""
        directory = instance.directory()
        fd = -1
        try:
            end = time.monotonic() + patience
            fd = _open(directory, self._name)
            while fd < 0 and time.monotonic() < end:
                time.sleep(PAUSE)
                fd = _open(directory, self._name)
            known = _parse(os.pread(fd, MOST_BYTES, 0)) if fd >= 0 else {}
            yield _Locked(directory if fd >= 0 else None, known)
        finally:
            if fd >= 0:
                os.close(fd)

    def _write(self, directory: Directory, entries: Dict[bytes, Entry]) -> None:
        data = _render(entries)
        os.close(directory.create(self._name, len(data), head=data, replace=True))


class _Locked(NamedTuple):
    directory: Optional[Directory]
    known: Dict[bytes, Entry]


def _open(directory: Directory, name: str) -> int:
    """Return a descriptor of the file, locked; -1 if another process has it."""
    for _ in range(ATTEMPTS):
        fd = directory.open(name, os.O_RDWR | os.O_CREAT)
        try:
            # not lockf: its locks go when any descriptor of the file is closed, in any thread
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return -1
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # another process has replaced it between our two calls
    return -1


def _render(entries: Dict[bytes, Entry]) -> bytes:
    if len(entries) > MOST_ENTRIES:
        most = sorted(
            entries.items(), key=lambda item: (item[1].count, item[1].worst), reverse=True
        )
        entries = dict(most[:MOST_ENTRIES])
    pieces = [MAGIC]
    for key, entry in entries.items():
        name, note = key[:0xFFFF], entry.note[:0xFFFF]
        pieces += _HEAD.pack(len(name), len(note), entry.count, entry.worst), name, note
    return b"".join(pieces)


def _parse(data: bytes) -> Dict[bytes, Entry]:
    """Return the entries in a file; none if it is empty, or another version's."""
    found: Dict[bytes, Entry] = {}
    at = len(MAGIC)
    if not data.startswith(MAGIC):
        return found
    while at + _HEAD.size <= len(data):
        key_bytes, note_bytes, count, worst = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        end = at + key_bytes + note_bytes
        if end > len(data):
            break
        found[data[at : at + key_bytes]] = Entry(count, worst, data[at + key_bytes : end])
        at = end
    return found
