"""The layout of the scoreboard: where each byte lies, what it means, and who writes it.

    header          flags of the instance, the rate of recycling, the names of the counters
    worker rows     one for each worker: process, load state, counters
    waits for       a column of u16: of what each thread waits for, the index in the table of names;
                    with the highest bit if the call is tried again
    waits since     a column of f64, on the monotonic clock, which all processes share
    patience        a column of f64: up to which age what is waited for is left alone
    thread rows     one for each thread of each worker: its request
    dumps           one for each worker: the last stacks that it has written down
    queue           what is known of the listen queue: doubles, see overload.state
    names           the table of names
    pool            numbers about the pool of threads, and for each of the first names some about
                    the upstream of that name: fair share's

Each byte has one writer: the process that has the row, in a thread row the thread itself, in what a
request waits for the watchdog. What several processes write, they write under a lock. Readers take
none: they read twice, until both times are the same, so that nothing was being written meanwhile.
What is longer than a number stands between two stamps, which differ (not `settled`) where the
writer was killed, or is stopped, in the middle.

Exec probes import this every few seconds, each in a process of its own: `struct` and `os`, no more.
"""

from __future__ import annotations

import math
import struct

from ..host import procfs
from .fields import CUT, Float, Integer, Text, View, cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

NAME = "scoreboard"  # of the file
MAGIC = b"rwsgi sb"
VERSION = 2
PAGE_BYTES = 4096
HEADER_BYTES = 3 * PAGE_BYTES
ROW_BYTES = 3072
THREAD_BYTES = 256
DUMP_BLOCK_BYTES = 4096
NAME_BYTES = 128
QUEUE_BYTES = 24 * 1024
QUEUE_ROW_BYTES = 64
NAMES = 1024
UPSTREAMS = 256  # names that may be an upstream's: the first ones
TRIED_BEFORE = 0x8000  # added to the number of what is waited for: the call is a retry
POOL_NUMBERS = 8  # doubles
UPSTREAM_NUMBERS = 80
COUNTERS = 128
MOST_ROWS = 16384
MOST_THREADS = 1024
OTHER = 1  # the name that stands for those that found no room; 0 is nothing


class NotAScoreboard(Exception):
    """The file cannot be read as a scoreboard, for the reason given."""


class Geometry:
    """How many rows and threads a scoreboard has, and so where everything lies.

    `workers` rows belong to the workers with the numbers from 1, `spare` ones to those who claim
    them: processes without such a number.
    """

    __slots__ = (
        "dumps_at", "names_at", "patience_at", "pool_at", "queue_at", "rows", "rows_at", "since_at",
        "size", "spare", "threads", "threads_at", "waits_at", "workers",
    )  # fmt: skip

    def __init__(self, workers: int, spare: int, threads: int) -> None:
        self.workers, self.spare, self.threads = workers, spare, threads
        self.rows = rows = workers + spare
        places = rows * threads
        self.rows_at = HEADER_BYTES
        self.waits_at = self.rows_at + rows * ROW_BYTES
        self.since_at = self.waits_at + _whole(2 * places, 8)
        self.patience_at = self.since_at + 8 * places
        self.threads_at = _whole(self.patience_at + 8 * places, THREAD_BYTES)
        self.dumps_at = _whole(self.threads_at + places * THREAD_BYTES, PAGE_BYTES)
        self.queue_at = self.dumps_at + rows * DUMP_BLOCK_BYTES
        self.names_at = self.queue_at + QUEUE_BYTES + rows * QUEUE_ROW_BYTES
        self.pool_at = self.names_at + NAMES * NAME_BYTES
        self.size = self.pool_at + 8 * (POOL_NUMBERS + UPSTREAMS * UPSTREAM_NUMBERS)

    def __repr__(self) -> str:
        return f"<Geometry {self.workers}+{self.spare} x {self.threads}, {self.size >> 10} KiB>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Geometry) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> Tuple[int, int, int]:
        """Return what everything else follows from."""
        return self.workers, self.spare, self.threads

    def possible(self) -> bool:
        """Return whether a scoreboard may have this geometry."""
        return 0 < self.rows <= MOST_ROWS and 0 < self.threads <= MOST_THREADS


def upstream_at(number: int) -> int:
    """Return where the numbers of an upstream begin, counted in doubles from those of the pool."""
    return POOL_NUMBERS + number * UPSTREAM_NUMBERS


def _whole(size: int, unit: int) -> int:
    return -(-size // unit) * unit


class Header(View):
    """What concerns the instance as a whole.

    The first part is written before anybody else sees the file, the rest under the lock, or by who
    drains the instance, from outside too.
    """

    __slots__ = ()

    FIXED = struct.Struct("=8sIIIIIIQiQQd")
    ever_served = Integer(128, "B")  # also before the last reload
    served = Integer(129, "B")  # since the last reload
    ending = Integer(130, "B")
    failed_loads = Integer(132, "I")  # in the master, in a row, also before the last reload
    draining = Float(136)  # since when; 0 if it is not
    healed_at = Float(144)  # when a peer was recycled last
    names_used = Integer(152, "H")
    counters_used = Integer(154, "H")
    off_reason = Text(160, 512)  # why readiness is off
    TEXTS = (off_reason,)
    DRAINING_AT, NAMES_USED_AT = draining.offset, names_used.offset
    RECYCLED_AT = 1024
    RECYCLED = struct.Struct("=64d")  # the latest ones, on the monotonic clock
    PROBES_AT = 1536
    PROBES = struct.Struct("=QQ")  # which second of the monotonic clock, how many passed in it
    LEARNED_AT, LEARNED_BYTES = 2048, 2048
    COUNTER_NAMES_AT, COUNTER_NAME_BYTES = 4096, 64

    def fix(self, geometry: Geometry, master: int, start: int, space: int, now: float) -> None:
        """Write the part that stays: what this is, of whom, since when."""
        self.FIXED.pack_into(
            self.memory, self.at, MAGIC, VERSION, *geometry.key(), NAMES, COUNTERS, geometry.size,
            master, start, space, now,
        )  # fmt: skip

    def geometry(self) -> Geometry:
        """Return how this is laid out. Raises `NotAScoreboard`."""
        magic, version, workers, spare, threads, names, counters, size, *_ = self._fixed()
        if magic != MAGIC:
            msg = "is not a scoreboard of resilient_wsgi"
            raise NotAScoreboard(msg)
        geometry = Geometry(workers, spare, threads)
        if version != VERSION or (names, counters) != (NAMES, COUNTERS):
            msg = "was started with another version of resilient_wsgi"
            raise NotAScoreboard(msg)
        if not geometry.possible() or geometry.size != size:
            msg = "has a scoreboard whose header is damaged"
            raise NotAScoreboard(msg)
        return geometry

    def _fixed(self) -> Tuple[Any, ...]:
        return self.FIXED.unpack_from(self.memory, self.at)

    def settled(self) -> bool:
        """Return whether nothing in it was being written when this was read."""
        return all(text.settled(self) for text in self.TEXTS)

    @property
    def worker_count(self) -> int:
        """How many workers have a row by their number."""
        count: int = self._fixed()[2]
        return count

    @property
    def master(self) -> Tuple[int, int]:
        """Pid and start time (clock ticks) of the master."""
        pid, start = self._fixed()[8:10]
        return pid, start

    def counters(self) -> List[str]:
        """Return the names of the counters, in their order."""
        used = min(self.counters_used, COUNTERS)
        size, at = self.COUNTER_NAME_BYTES, self.at + self.COUNTER_NAMES_AT
        return [read_name(self.memory, at + n * size, size) for n in range(used)]


class WorkerRow(View):
    """The row of one worker, or of all that have its number, one after the other.

    Times are of the monotonic clock. `state` is a number of readiness's own.
    """

    __slots__ = ("index",)

    def __init__(self, memory: Any, at: int, index: int) -> None:
        super().__init__(memory, at)
        self.index = index

    pid = Integer(0, "i")
    worker = Integer(4, "i")  # its number, 0 if it has none
    started = Integer(8, "Q")  # clock ticks since boot: with the pid it names the process
    released = Integer(16, "B")  # it has ended in an orderly way, or ends
    seen = Float(24)  # when the watchdog last scanned

    state = Integer(32, "B")
    ready = Integer(33, "B")
    crash = Integer(34, "B")  # the signal by which the load of its last process crashed
    spawns = Integer(36, "I")
    failures = Integer(40, "I")  # in a row
    reported_pid = Integer(44, "i")  # the process of which a peer has reported that it is stuck
    since = Float(48)  # in this state
    checked_at = Float(56)  # when `ready` was found out
    next_try = Float(64)
    error = Text(128, 512)
    problem = Text(128 + 520, 512)
    degraded = Text(128 + 1040, 512)
    TEXTS = (error, problem, degraded)
    LOAD = (32, 128 + 1560)  # from, to: the part that is readiness's
    COUNTERS_AT = 2048
    COUNTER = struct.Struct("=Q")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.index} pid={self.pid} state={self.state}>"

    def alive(self) -> bool:
        """Return whether its process runs: one that has ended, and that its parent has not taken
        note of yet, does not.
        """
        if not self.pid:
            return False
        found = procfs.stat(self.pid)
        return found is not None and found.runs and found.start == self.started

    def settled(self) -> bool:
        """Return whether nothing in it was being written when this was read."""
        return all(text.settled(self) for text in self.TEXTS)

    def counter(self, index: int) -> int:
        """Return how often something was counted, by all processes that had this row."""
        at = self.at + self.COUNTERS_AT + index * self.COUNTER.size
        value: int = self.COUNTER.unpack_from(self.memory, at)[0]
        return value

    def set_counter(self, index: int, value: int) -> None:
        """Write what `counter` returns."""
        at = self.at + self.COUNTERS_AT + index * self.COUNTER.size
        self.COUNTER.pack_into(self.memory, at, value)


class Request:
    """A request that stands in a thread row, and what it waits for: in words, and by name."""

    __slots__ = ("begun", "deadline", "doing", "method", "path", "waiting_since", "waits_for")

    def __init__(self, method: str, path: str, begun: float, deadline: float, doing: str) -> None:
        self.method = method
        self.path = path
        self.begun = begun
        self.deadline = deadline
        self.doing = doing
        self.waits_for = 0
        self.waiting_since = 0.0

    @property
    def what(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    def __repr__(self) -> str:
        return f"<Request {self.what} since {self.begun:.2f}>"


# start, deadline, method, path, and the start again: a row where they differ is being written
REQUEST = struct.Struct("=dd16s104sd")
START = struct.Struct("=d")
# the start of the request that it is of, what that waits for, between two stamps
DOING = struct.Struct("=dI80sI")
DOING_AT = REQUEST.size


def read_request(memory: Any, at: int) -> Optional[Request]:
    """Return the request of a thread row; None if there is none."""
    start, deadline, method, path, end = REQUEST.unpack_from(memory, at)
    if not start:
        return None
    if start != end:  # its worker was killed just when it began
        return unreadable(start, deadline)
    of, before, doing, after = DOING.unpack_from(memory, at + DOING_AT)
    known = of == start and before == after
    return Request(_text(method), _text(path), start, deadline, _text(doing) if known else "")


def unreadable(start: float, deadline: float = math.inf) -> Request:
    """Return a request of which no more is known than that there is one."""
    return Request("?", "?", start, deadline, "")


def request_settled(memory: Any, at: int) -> bool:
    """Return whether a thread row was not being written when this was read."""
    start, _, _, _, end = REQUEST.unpack_from(memory, at)
    of, before, _, after = DOING.unpack_from(memory, at + DOING_AT)
    return not start or bool(start == end and (of != start or before == after))


class Dump:
    """Stacks that a worker has written down, and when it took them (monotonic): of what ran then,
    not of what came later.
    """

    __slots__ = ("taken", "text")
    HEAD = struct.Struct("=dH")  # when, the length
    END = struct.Struct("=d")  # when
    BYTES = DUMP_BLOCK_BYTES - HEAD.size - END.size

    def __init__(self, text: str, taken: float) -> None:
        self.text = text
        self.taken = taken

    @classmethod
    def read(cls, memory: Any, at: int) -> Dump:
        """Return what stands in a dump's place; nothing if it is being written."""
        taken, length = cls.HEAD.unpack_from(memory, at)
        (end,) = cls.END.unpack_from(memory, at + DUMP_BLOCK_BYTES - cls.END.size)
        start = at + cls.HEAD.size
        data = bytes(memory[start : start + min(length, cls.BYTES)]) if end == taken else b""
        return cls(data.decode(errors="replace"), taken)

    def write(self, memory: Any, at: int) -> None:
        """Put it there: as many lines as there is room for."""
        data = cut(self.text.encode(errors="replace"), self.BYTES)
        self.HEAD.pack_into(memory, at, self.taken, 0)  # who is killed meanwhile has written none
        start = at + self.HEAD.size
        memory[start : start + len(data)] = data
        self.END.pack_into(memory, at + DUMP_BLOCK_BYTES - self.END.size, self.taken)
        self.HEAD.pack_into(memory, at, self.taken, len(data))


def read_name(memory: Any, at: int, size: int = NAME_BYTES) -> str:
    """Return an entry of a table of names."""
    return _whole_text(bytes(memory[at : at + size]).partition(b"\0")[0])


def find_names(memory: Any, at: int, used: int) -> Iterator[str]:
    """Yield the names of a table, in their order; the first two have a meaning of their own."""
    yield from ("", "other")
    for n in range(2, min(used, NAMES)):
        yield read_name(memory, at + n * NAME_BYTES)


def total(rows: List[WorkerRow], names: List[str]) -> Dict[str, int]:
    """Return the sum of each counter over all rows."""
    return {name: sum(row.counter(n) for row in rows) for n, name in enumerate(names)}


def _text(data: bytes) -> str:
    text, end, _ = data.partition(b"\0")
    # without an end it fills its place: as good as always, because there was more
    return text.decode(errors="replace") if end else _whole_text(text) + CUT


def _whole_text(data: bytes) -> str:
    return data.decode(errors="ignore")
