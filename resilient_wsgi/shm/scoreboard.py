"""What the processes of an instance do, in memory that they share and that outlives each of them.

A file in the private directory of the instance, mapped by every process that writes to it. In
uWSGI with `shared-import` the master makes it before the first fork, and the workers inherit it;
elsewhere nothing of ours runs in a master, and the first worker makes it. What a killed worker was
doing stands in its row until its successor has reported it. `layout` says what lies where,
`opening` which file it is, `snapshot` reads it from outside.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
from array import array
from operator import attrgetter
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from .. import servers
from ..core.system import PerProcess
from ..errors import Unavailable
from ..host import procfs
from ..servers.base import MASTER
from . import instance, opening
from .directory import as_user
from .layout import (
    COUNTERS,
    DUMP_BLOCK_BYTES,
    NAME,
    NAME_BYTES,
    NAMES,
    OTHER,
    THREAD_BYTES,
    Geometry,
    Header,
    WorkerRow,
)
from .locks import lock
from .rows import OwnRow, Predecessor
from .snapshot import Snapshot
from .tables import Table

PERIOD = 60.0  # of the rate of recycling
Rank = Callable[[WorkerRow], int]


class Scoreboard:
    """The scoreboard of this process's instance, mapped to be written."""

    def __init__(
        self,
        fd: int,
        geometry: Geometry,
        path: str = "",
        why_not_visible: str = "",
    ) -> None:
        self.geometry = geometry
        self.path = path  # where it can be found from outside, "" if it cannot
        self.why_not_visible = why_not_visible
        self._fd = fd
        self._identity = None if fd < 0 else _identity(fd)
        # it keeps a descriptor of its own, unless it can be asked not to
        untracked = {"trackfd": False} if sys.version_info >= (3, 13) and fd >= 0 else {}
        self.memory = mmap.mmap(fd, geometry.size, **untracked)
        whole = memoryview(self.memory)
        self.starts = whole.cast("d")
        places = geometry.rows * geometry.threads
        # of what each thread waits for, the index of the name, and since when: one store each
        self.waits_for = whole[geometry.waits_at :][: 2 * places].cast("H")
        self.waits_since = whole[geometry.since_at :][: 8 * places].cast("d")
        self.queue = whole[geometry.queue_at : geometry.names_at].cast("d")
        self.patience = whole[geometry.patience_at :][: 8 * places].cast("d")
        # of fair share: written by any process, each number with one store
        self.pool = whole[geometry.pool_at : geometry.size].cast("d")
        self.learned = whole[Header.LEARNED_AT :][: Header.LEARNED_BYTES]
        self.header = Header(self.memory)
        self._rows: Dict[int, OwnRow] = {}
        self.predecessor: Optional[Predecessor] = None
        self._names = Table(self, geometry.names_at, NAME_BYTES, "names_used", 2, NAMES, OTHER)
        counters = Header.COUNTER_NAMES_AT, Header.COUNTER_NAME_BYTES, "counters_used"
        self._counters = Table(self, *counters, 0, COUNTERS - 1, COUNTERS - 1)
        self._rank: Rank = attrgetter("failures")
        self._mine: PerProcess[Optional[OwnRow]] = PerProcess(self._take)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was not made
            if self._has_fd():
                os.close(self._fd)

    def __repr__(self) -> str:
        return f"<Scoreboard {self.path or 'in memory without a name'} {self.geometry}>"

    @staticmethod
    def of_this_instance() -> Scoreboard:
        """Return the scoreboard of this process's instance, made if it is not there yet.

        Raises `Unavailable`, `OSError`; not in uWSGI's master, where it falls back on memory that
        only its workers can see.
        """
        return _current.get()

    @staticmethod
    def known() -> Optional[Scoreboard]:
        """Return it if this process has it already."""
        return _current.peek()

    # Rows

    def row(self, index: int) -> OwnRow:
        """Return a row by its place in the file."""
        return self._rows.get(index) or self._rows.setdefault(index, OwnRow(self, index))

    def worker(self, number: int) -> OwnRow:
        """Return the row of the worker with a number, which counts from 1."""
        return self.row(number - 1)

    @property
    def workers(self) -> List[OwnRow]:
        """The rows by number; where workers have none, all of them."""
        return [self.row(n) for n in range(self.geometry.workers or self.geometry.rows)]

    def has_loads(self) -> bool:
        """Return whether it holds how loads of the app went: under gunicorn a lone worker that is
        replaced has no other process that would keep it.
        """
        return bool(self.header.ever_served) or any(row.failures for row in self.workers)

    def started(self) -> List[OwnRow]:
        """Return the rows of the workers that were started at all."""
        return [row for row in self.workers if row.spawns]

    def mine(self, rank: Optional[Rank] = None) -> Optional[OwnRow]:
        """Return the row of this process: the one with its number, else one that is free.

        The first call notes the process in it, and keeps in `predecessor` what a killed one was
        doing; load state and counters stay as they are. Of the rows that dead processes have left,
        the one with the highest rank is taken. None if no row is free, and in a process that the
        app has forked.
        """
        if rank is not None:
            self._rank = rank
        return self._mine.get()

    def release(self) -> None:
        """Note that this process has ended in an orderly way: nothing is to be reported of it."""
        row = self._mine.peek()
        if row is not None and row.pid == os.getpid():
            row.released = 1
        self._mine.clear()

    def _take(self) -> Optional[OwnRow]:
        server = servers.detect()
        if server.forked_by_app():
            return None
        number = server.identity().worker
        if 0 < number <= self.geometry.workers:
            self._occupy(self.worker(number), number)
            return self.worker(number)
        with self.lock():
            row = self._free()
            if row is not None:
                self._occupy(row, number)
        return row

    def _free(self) -> Optional[OwnRow]:
        unused: Optional[OwnRow] = None
        left: List[OwnRow] = []
        me = os.getpid()
        for row in map(self.row, range(self.geometry.workers, self.geometry.rows)):
            pid = row.pid
            if not pid:
                unused = unused or row
            elif pid == me:
                return row
            elif row.released or not row.alive():
                left.append(row)
        return max(left, key=self._rank, default=unused)

    def _occupy(self, row: OwnRow, number: int) -> None:
        pid, start = os.getpid(), procfs.start(os.getpid())
        known = (row.pid, row.started) == (pid, start)  # another interpreter of this process
        if not known or row.released:
            if row.pid and not row.released and not known:
                self.predecessor = Predecessor(row)
            self._empty(row.index)
        row.seen = 0.0
        row.worker, row.started, row.pid, row.released = number, start, pid, 0

    def _empty(self, index: int) -> None:
        first, *_ = self.thread_places(index)
        threads, at = self.geometry.threads, self.dump_at(index)
        self.memory[first : first + threads * THREAD_BYTES] = bytes(threads * THREAD_BYTES)
        self.memory[at : at + DUMP_BLOCK_BYTES] = bytes(DUMP_BLOCK_BYTES)
        mine = slice(index * threads, (index + 1) * threads)
        self.waits_for[mine] = memoryview(array("H", bytes(2 * threads)))
        self.waits_since[mine] = memoryview(array("d", bytes(8 * threads)))
        self.patience[mine] = memoryview(array("d", bytes(8 * threads)))

    def thread_places(self, index: int) -> range:
        """Return where the thread rows of a row lie."""
        size = self.geometry.threads * THREAD_BYTES
        first = self.geometry.threads_at + index * size
        return range(first, first + size, THREAD_BYTES)

    def dump_at(self, index: int) -> int:
        """Return where the dump of a row lies."""
        return self.geometry.dumps_at + index * DUMP_BLOCK_BYTES

    # What the instance shares

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Keep the other processes out; yield whether that could be done within a second.

        The kernel opens it when its holder dies; it is held for milliseconds at most. But a
        holder may be stopped, and the app may have closed the descriptor: then go on without it,
        where going on is better than not.
        """
        locked = False
        with contextlib.suppress(OSError):
            if self._has_fd():
                lock(self._fd)
                locked = True
        try:
            yield locked
        finally:
            with contextlib.suppress(OSError):
                if locked and self._has_fd():
                    fcntl.lockf(self._fd, fcntl.LOCK_UN)

    @property
    def lockable(self) -> bool:
        """Whether it has a descriptor, without which nothing can be given a number."""
        return self._has_fd()

    def _has_fd(self) -> bool:
        return self._identity is not None and _identity(self._fd) == self._identity

    def recycle(self, per_minute: int, now: float) -> bool:
        """Return whether one more worker of the instance may be replaced in this minute, and count
        it.

        Without this, all workers would be replaced at once in an incident.
        """
        with self.lock() as locked:
            stamps = sorted(Header.RECYCLED.unpack_from(self.memory, Header.RECYCLED_AT))
            # a stamp may be a little later than `now`: of one who read the clock after us and came
            # first
            recent = sum(1 for stamp in stamps if stamp and -PERIOD < now - stamp < PERIOD)
            if not locked or recent >= min(per_minute, len(stamps)):
                return False
            Header.RECYCLED.pack_into(self.memory, Header.RECYCLED_AT, now, *stamps[1:])
            return True

    def take_probe(self, now: float, per_second: int) -> bool:
        """Return whether one more health probe may pass in this second, and count it.

        Takes no lock: of two workers that count at the same moment one may be lost, and then one
        more passes.
        """
        second, count = Header.PROBES.unpack_from(self.memory, Header.PROBES_AT)
        count = count if second == int(now) else 0
        if count >= per_second:
            return False
        Header.PROBES.pack_into(self.memory, Header.PROBES_AT, int(now), count + 1)
        return True

    def name(self, text: str) -> int:
        """Return the number of a name, the same in all processes; that of "other" if there is no
        room for it.
        """
        return self._names.number(text)

    def counter(self, name: str) -> int:
        """Return the number of a counter, for `row.count()`; the last one is shared by those that
        found no room.
        """
        return self._counters.number(name)

    def remember(self, old: Snapshot) -> None:
        """Take over from the scoreboard of the program before a reload what outlives that: whether
        it has ever served, what was counted, what killed workers were doing.
        """
        self.header.ever_served = old.header.ever_served
        self.header.failed_loads = old.header.failed_loads
        old.copy_to(self.memory, self.geometry)
        for row in self.workers:
            row.reset_load()


class _Current:
    """The scoreboard that this process has, made by it or inherited."""

    def __init__(self) -> None:
        self._board: Optional[Scoreboard] = None

    def peek(self) -> Optional[Scoreboard]:
        board = self._board
        return (
            board
            if board is not None and opening.same(board.header.master, opening.master())
            else None
        )

    def get(self) -> Scoreboard:
        board = self.peek()
        if board is None:
            # what is inherited but of another instance goes with its last reference
            self._board = board = _make_or_open()
        return board

    def forget(self) -> None:
        self._board = None


_current = _Current()


def forget() -> None:
    """Let go of the scoreboard; who asks for it again has it again."""
    _current.forget()


def leave() -> None:
    """Let go of the scoreboard and of the directory of the instance, in an orderly end of this
    process. The last one removes both, unless it has to be known to later workers what is in it.
    """
    board = _current.peek()
    wanted = board is not None and board.has_loads()
    if board is not None:
        board.release()
    _current.forget()
    instance.leave(*(() if wanted else (NAME,)))


def _make_or_open() -> Scoreboard:
    server = servers.detect()
    if server.name == "uwsgi" and server.identity().role == MASTER:
        return _make_in_master(server)
    return Scoreboard(*opening.join(instance.directory(), opening.geometry_of(server)))


def _make_in_master(server: servers.Server) -> Scoreboard:
    """Make the scoreboard of a program, before its first fork."""
    geometry = opening.geometry_of(server)
    try:
        directory = instance.of_workers(server.configuration.worker_uid())
        with as_user(directory.owner):
            old = opening.before_reload(directory) if server.reloaded() else None
            fd = directory.create(NAME, geometry.size, head=opening.head(geometry), replace=True)
        board = Scoreboard(fd, geometry, f"{directory.path}/{NAME}")
    except (OSError, Unavailable) as error:
        board, old = _without_name(geometry, str(error)), None
    if old is not None:
        with contextlib.suppress(OSError):
            board.remember(old)
        old.close()
    elif server.reloaded():
        # Of one that was reloaded and has left nothing it is taken that it has served: who ends it
        # for good does more harm than who keeps on trying
        board.header.ever_served = 1
    return board


def _without_name(geometry: Geometry, why: str) -> Scoreboard:
    """Return a scoreboard that only this process and its children have, because there is no
    directory, or no room in it.
    """
    board = Scoreboard(opening.nameless(geometry.size), geometry, why_not_visible=why)
    board.memory[: Header.FIXED.size] = opening.head(geometry)
    return board


def _identity(fd: int) -> Optional[Tuple[int, int]]:
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return about.st_dev, about.st_ino
