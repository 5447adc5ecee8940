"""The rows of the scoreboard, as the processes of the instance write them."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Dict, Iterator, List, Optional, Tuple

from .layout import (
    DOING,
    DOING_AT,
    REQUEST,
    ROW_BYTES,
    START,
    THREAD_BYTES,
    Dump,
    Request,
    WorkerRow,
    read_request,
)

if TYPE_CHECKING:
    from .scoreboard import Scoreboard


class ThreadRow:
    """The place for what one thread does.

    `begin(now, deadline, method, path, now)` notes a request, `clear()` that it is over.
    """

    __slots__ = ("_at", "_memory", "_noted", "_stamp", "begin", "clear", "index")

    def __init__(self, board: Scoreboard, index: int) -> None:
        self.index = index  # also that of its places in the columns
        self._memory = memory = board.memory
        self._at = at = board.geometry.threads_at + index * THREAD_BYTES
        self._stamp = 0
        self._noted: Tuple[float, str] = (0.0, "")
        # no methods of ours: these are in the way of every request
        self.begin = functools.partial(REQUEST.pack_into, memory, at)
        self.clear = functools.partial(board.starts.__setitem__, at // START.size, 0.0)

    def note(self, doing: str) -> None:
        """Note what its request waits for, in words; for the watchdog."""
        (start,) = START.unpack_from(self._memory, self._at)
        if self._noted != (start, doing):
            self._noted = (start, doing)
            self._stamp = stamp = (self._stamp + 1) & 0xFFFFFFFF
            text = doing.encode(errors="replace")
            DOING.pack_into(self._memory, self._at + DOING_AT, start, stamp, text, stamp)


class OwnRow(WorkerRow):
    """A worker's row, to be written; by its own process, unless a field's comment says who else."""

    __slots__ = ("_board", "_counts")

    def __init__(self, board: Scoreboard, index: int) -> None:
        super().__init__(board.memory, board.geometry.rows_at + index * ROW_BYTES, index)
        self._board = board
        self._counts: Optional[Dict[int, Iterator[int]]] = None

    @property
    def threads(self) -> List[ThreadRow]:
        """The places for its threads."""
        count = self._board.geometry.threads
        return [ThreadRow(self._board, self.index * count + n) for n in range(count)]

    def requests(self) -> List[Request]:
        """Return the requests that stand in it."""
        found = (read_request(self.memory, at) for at in self._board.thread_places(self.index))
        return [request for request in found if request is not None]

    def stacks(self) -> Dump:
        """Return the last stacks that its process has written down."""
        return Dump.read(self.memory, self._board.dump_at(self.index))

    def reset_load(self) -> None:
        """Forget the load state, as for a worker that was never started."""
        start, stop = self.LOAD
        self.memory[self.at + start : self.at + stop] = bytes(stop - start)

    def write_stacks(self, text: str, now: float) -> None:
        """Write down stacks, taken now."""
        Dump(text, now).write(self.memory, self._board.dump_at(self.index))

    def count(self, counter: int) -> None:
        """Add one to a counter. Takes no lock: a signal handler may count, too."""
        # next() on a count is one step for the interpreter; a thread that was held up between the
        # two lines must not take back what another has added
        if self._counts is None:
            self._counts = {}
        numbers = self._counts.get(counter)
        if numbers is None:
            first = itertools.count(self.counter(counter) + 1)
            numbers = self._counts.setdefault(counter, first)
        number = next(numbers)
        if number > self.counter(counter):
            self.set_counter(counter, number)


class Predecessor:
    """What a killed process was doing when it ended: it had the row that this process has now."""

    __slots__ = ("pid", "requests", "seen", "stacks", "worker")

    def __init__(self, row: OwnRow) -> None:
        self.pid = row.pid
        self.worker = row.worker
        self.seen = row.seen
        self.requests = row.requests()
        self.stacks = row.stacks()

    def __repr__(self) -> str:
        return f"<Predecessor pid={self.pid} {self.requests}>"
