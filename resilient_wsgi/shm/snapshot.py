"""The scoreboard of an instance, read from outside: verified, then read; never mapped, locked or
waited for.

Its processes may be stuck, stopped or dead, and the file may be cut short while it is read.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct

from . import finding
from .directory import SAFELY, Directory, as_user
from .fields import fit
from .layout import (
    DUMP_BLOCK_BYTES,
    HEADER_BYTES,
    NAME,
    NAME_BYTES,
    NAMES,
    QUEUE_BYTES,
    ROW_BYTES,
    START,
    THREAD_BYTES,
    TRIED_BEFORE,
    UPSTREAMS,
    Dump,
    Header,
    NotAScoreboard,
    Request,
    WorkerRow,
    find_names,
    read_request,
    request_settled,
    total,
    unreadable,
    upstream_at,
)
from .locks import lock

__all__ = ["NotAScoreboard", "Snapshot", "drain"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap
    from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

    from .layout import Geometry

LOOKS = 20  # at what is being written


class WorkerView(WorkerRow):
    """A worker's row as it was read, and what its threads do."""

    __slots__ = ("_of",)

    def __init__(self, memory: bytes, at: int, index: int, of: Snapshot) -> None:
        super().__init__(memory, at, index)
        self._of = of

    def requests(self) -> List[Request]:
        """Return the requests that run in it, the oldest first; read now."""
        return sorted(self._of.requests(self.index), key=lambda request: request.begun)

    def stacks(self) -> Dump:
        """Return the last stacks that it has written down; read now."""
        return self._of.dump(self.index)


class Snapshot:
    """What stood in the scoreboard when it was read; `refresh()` reads it again."""

    def __init__(self, directory: Directory) -> None:
        """Read the scoreboard in a directory.

        Raises `FileNotFoundError` if there is none, `NotAScoreboard`, `Unavailable`, `OSError`.
        """
        self.directory = directory
        self._fd = directory.open(NAME, os.O_RDONLY)
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    @classmethod
    def of_process(cls, pid: int) -> Snapshot:
        """Read the scoreboard of the instance that a process belongs to: its master, or a worker.

        Raises as `finding.find` and the constructor do.
        """
        return cls(finding.find(pid))

    def __repr__(self) -> str:
        return f"<Snapshot {self.directory.path} {self._geometry}>"

    def __enter__(self) -> Snapshot:  # noqa: PYI034 - Self is in typing since 3.11
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; what was read stays."""
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0:
            os.close(fd)

    def refresh(self) -> None:
        """Read the header and the rows of the workers again. Raises `NotAScoreboard`."""
        head, _ = self._settled(0, HEADER_BYTES, lambda data: Header(data).settled())
        self.header = Header(head)
        self._geometry = geometry = self.header.geometry()
        if os.fstat(self._fd).st_size < geometry.size:
            msg = "has a scoreboard that was cut short"
            raise NotAScoreboard(msg)
        size = geometry.rows * ROW_BYTES
        data, again = self._read(geometry.rows_at, size), self._read(geometry.rows_at, size)
        # not the views themselves: they refer to this, and it is to go with its last reference
        self._places = [self._place(data, again, n) for n in range(geometry.rows)]

    def _place(self, data: bytes, again: bytes, index: int) -> Tuple[bytes, int]:
        at = index * ROW_BYTES
        same = data[at : at + ROW_BYTES] == again[at : at + ROW_BYTES]
        if same and WorkerRow(data, at, index).settled():
            return data, at
        at += self._geometry.rows_at
        row, _ = self._settled(at, ROW_BYTES, lambda data: WorkerRow(data, 0, index).settled())
        return row, 0

    def row(self, index: int) -> WorkerView:
        """Return a row by its place in the file."""
        return WorkerView(*self._places[index], index, self)

    @property
    def rows(self) -> List[WorkerView]:
        """All rows, those that processes without a number claim, too."""
        return [self.row(n) for n in range(self._geometry.rows)]

    @property
    def workers(self) -> List[WorkerView]:
        """The rows by number, or, where workers have none, all of them."""
        return [self.row(n) for n in range(self._geometry.workers or self._geometry.rows)]

    def worker(self, number: int) -> WorkerView:
        """Return the row of the worker with a number, which counts from 1."""
        return self.row(number - 1)

    @property
    def names(self) -> List[str]:
        """The table of names: what threads wait for refers to it."""
        data = self._read(self._geometry.names_at, NAMES * NAME_BYTES)
        return list(find_names(data, 0, self.header.names_used))

    def pool(self) -> Tuple[float, ...]:
        """Return the numbers of fair share; `layout.upstream_at` says where those of a name are."""
        size = self._geometry.size - self._geometry.pool_at
        return struct.unpack(f"={size // 8}d", self._read(self._geometry.pool_at, size))

    def counters(self) -> Dict[str, int]:
        """Return how often everything was counted in the whole instance, by name."""
        return total(list(self.rows), self.header.counters())

    def requests(self, index: int) -> Iterator[Request]:
        """Yield what stands in the thread rows of a row."""
        threads = self._geometry.threads
        names, since = self._waits(index)
        first = self._geometry.threads_at + index * threads * THREAD_BYTES
        data = self._read(first, threads * THREAD_BYTES)
        for n in range(threads):
            if START.unpack_from(data, n * THREAD_BYTES)[0]:
                found = self._request(first + n * THREAD_BYTES)
                if found is not None:
                    found.waits_for = names[n] & ~TRIED_BEFORE
                    found.waiting_since = since[n]
                    yield found

    def _request(self, at: int) -> Optional[Request]:
        data, whole = self._settled(at, THREAD_BYTES, lambda data: request_settled(data, 0))
        found = read_request(data, 0)
        # one that begins and ends faster than it can be read
        return found if found is None or whole else unreadable(found.begun)

    def _waits(self, index: int) -> Tuple[Tuple[int, ...], Tuple[float, ...]]:
        threads = self._geometry.threads
        names = self._read(self._geometry.waits_at + index * threads * 2, threads * 2)
        since = self._read(self._geometry.since_at + index * threads * 8, threads * 8)
        return struct.unpack(f"={threads}H", names), struct.unpack(f"={threads}d", since)

    def dump(self, index: int) -> Dump:
        """Return the dump of a row."""
        at = self._geometry.dumps_at + index * DUMP_BLOCK_BYTES
        data, _ = self._settled(at, DUMP_BLOCK_BYTES, lambda _: True)
        return Dump.read(data, 0)

    def queue(self) -> memoryview[float]:
        """Return what is known of the listen queue, as doubles (overload.state says which); read
        now. Two of them may be of different moments.
        """
        start, end = self._geometry.queue_at, self._geometry.names_at
        return memoryview(self._read(start, end - start)).cast("d")

    def copy_to(self, memory: mmap, geometry: Geometry) -> None:
        """Copy the rows by number, with what their threads did and their counters, and what is
        known of the listen queue, into the memory of another scoreboard.
        """
        mine, names = self._geometry, Header.COUNTER_NAMES_AT
        memory[names:HEADER_BYTES] = self._read(names, HEADER_BYTES - names)
        Header(memory).counters_used = self.header.counters_used
        # the names, and what belongs to them
        to, size = geometry.names_at, geometry.size - geometry.names_at
        memory[to : to + size] = self._read(mine.names_at, size)
        Header(memory).names_used = self.header.names_used
        threads = min(mine.threads, geometry.threads) * THREAD_BYTES
        for n in range(min(mine.workers, geometry.workers)):
            for start, to, step, step_to, size in (
                (mine.rows_at, geometry.rows_at, ROW_BYTES, ROW_BYTES, ROW_BYTES),
                (mine.dumps_at, geometry.dumps_at, *3 * (DUMP_BLOCK_BYTES,)),
                (
                    mine.threads_at, geometry.threads_at,
                    mine.threads * THREAD_BYTES, geometry.threads * THREAD_BYTES, threads,
                ),
            ):  # fmt: skip
                at = to + n * step_to
                memory[at : at + size] = self._read(start + n * step, size)
        self._copy_queue_to(memory, geometry.queue_at)

    def _copy_queue_to(self, memory: mmap, at: int) -> None:
        queue = self.queue()
        rows = QUEUE_BYTES // queue.itemsize
        memory[at : at + QUEUE_BYTES] = queue[:rows].tobytes()
        # only the sum of what the rows have counted matters: there may be fewer of them now
        picked = sum(queue[rows:])
        struct.pack_into("=d", memory, at + QUEUE_BYTES, picked)

    def _settled(self, at: int, size: int, settled: Callable[[bytes], bool]) -> Tuple[bytes, bool]:
        """Return a part of the file, and whether nothing of it was being written meanwhile."""
        before = self._read(at, size)
        for _ in range(LOOKS):
            data = self._read(at, size)
            if data == before and settled(data):
                return data, True
            before = data
        return before, False

    def _read(self, at: int, size: int) -> bytes:
        # cut short meanwhile: what is missing is nothing
        return os.pread(self._fd, size, at).ljust(size, b"\0")


def drain(directory: Directory, now: float) -> None:
    """Have the instance be drained, unless that has begun. Raises as `Snapshot` does, and
    `PermissionError`.
    """
    with Snapshot(directory) as seen, _to_write(directory) as fd:
        if not seen.header.draining:
            os.pwrite(fd, struct.pack("=d", now), Header.DRAINING_AT)


def write_upstream(
    directory: Directory, name: str, numbers: Mapping[int, float], pool: Mapping[int, float]
) -> None:
    """Write numbers of an upstream, which is given a place if it has none, then some of the pool.

    Raises as `drain` does, and `NotAScoreboard` if there is no place left.
    """
    with Snapshot(directory) as seen, _to_write(directory) as fd:
        geometry = seen.header.geometry()
        base = upstream_at(_number_of(seen, geometry, fd, name))
        cells = [*((base + at, value) for at, value in numbers.items()), *pool.items()]
        for at, value in cells:
            os.pwrite(fd, struct.pack("=d", value), geometry.pool_at + 8 * at)


def _number_of(seen: Snapshot, geometry: Geometry, fd: int, name: str) -> int:
    names = seen.names
    if name in names[:UPSTREAMS]:
        return names.index(name)
    lock(fd)  # until it is closed
    seen.refresh()
    names = seen.names
    if name not in names:
        if len(names) >= UPSTREAMS:
            msg = "knows so many names already that there is no place for another upstream"
            raise NotAScoreboard(msg)
        data = fit(name, NAME_BYTES).ljust(NAME_BYTES, b"\0")
        os.pwrite(fd, data, geometry.names_at + len(names) * NAME_BYTES)
        os.pwrite(fd, struct.pack("=H", len(names) + 1), Header.NAMES_USED_AT)
        return len(names)
    return names.index(name)


@contextlib.contextmanager
def _to_write(directory: Directory) -> Iterator[int]:
    """Open the scoreboard to be written from outside: with the rights of the directory's owner, so
    that root writes to nothing that this user could not write to himself.
    """
    with as_user(directory.owner):
        fd = os.open(NAME, os.O_RDWR | SAFELY, dir_fd=directory.fd)
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != directory.owner:
                msg = "has a scoreboard that is not its own"
                raise NotAScoreboard(msg)
            yield fd
        finally:
            os.close(fd)
