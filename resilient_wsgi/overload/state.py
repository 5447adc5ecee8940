"""What the processes of an instance know about its listen queue: numbers in memory that they share.

Cells are doubles, which are stored in one step. Most have several writers and no lock: a process
that is killed leaves nothing half done, and of two that add to a count at the same moment one may
be lost, which moves a share by nothing. How many requests were picked up has to be right, so each
row of the scoreboard counts for itself, in a cache line of its own; where a worker has several
interpreters, as one for each mounted app, in a cell for each.

Memory that was never written is all zeros, so 0 means "not known" and "none".
"""

from __future__ import annotations

from array import array
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Iterator

# waits from 0.25 to 128 s, four bins an octave, and one each for those below and above
EDGES = [0.25 * 2 ** (n / 4) for n in range(37)]
BINS = len(EDGES) + 1
# what is counted by wait: picked up; its client gone by then; answered; its client gone by then;
# the seconds that took, those in vain, and their squares
PICKED, DEAD, SERVED, VAIN, WORK, WORK_VAIN, SQUARES = range(7)
KINDS = 7
# samples of how many have arrived, the oldest overwritten first
SAMPLES = 1024

# places of the numbers, in cells
TOLERATED = 0  # the wait from which on requests are in vain, as far as was learned
LIMIT = 1  # the wait from which on requests are shed now
BEGAN = 2  # when the overload did
BUSY = 3  # when the queue was last as long as in an overload
LEARNED = 4  # when shares were last looked at
LEARNED_OF = 5  # how many had been picked up by then
SAMPLED = 6  # when the last sample of the queue was taken
DEPTH = 7  # and how many waited then
WRITTEN = 8  # samples, of which the last SAMPLES are kept
CONTROLLED = 9  # when the limit was last set
SHED, FIRST_SHED, LAST_SHED = 10, 11, 12  # in this overload: how many, and when
INTERPRETERS = 13  # how many a worker has that count, 0 for one
UNSURE = 14  # of requests up to this number it is not known how long they have waited
RECENT_AT = 32
USUAL_AT = RECENT_AT + BINS * KINDS
TIMES_AT = USUAL_AT + BINS * KINDS
ARRIVED_AT = TIMES_AT + SAMPLES
CELL_BYTES = 8
# as shm.layout has them: QUEUE_BYTES, QUEUE_ROW_BYTES
ROWS_AT = 3072
ROW_CELLS = 8


class State:
    """The cells of an instance, and the row in which this process counts."""

    __slots__ = ("_all", "_first", "cells", "counts", "place")

    def __init__(
        self, cells: memoryview[float], rows: int, row: int = 0, interpreter: int = 0
    ) -> None:
        self.cells = cells
        self._all = cells[ROWS_AT : ROWS_AT + rows * ROW_CELLS]
        self._first = self._all[::ROW_CELLS]
        self.place = ROWS_AT + row * ROW_CELLS + interpreter
        # a successor goes on with the number of a killed process
        self.counts: Iterator[int] = count(int(cells[self.place]) + 1)

    @classmethod
    def alone(cls) -> State:
        """Return one that no other process sees."""
        return cls(memoryview(array("d", bytes(bytes_for(1)))), 1)

    def picked(self) -> float:
        """Return how many requests the instance has picked up so far."""
        return sum(self._all if self.cells[INTERPRETERS] > 1 else self._first)

    def join(self, interpreter: int) -> None:
        """Have what this interpreter counts be read."""
        if interpreter:
            self.cells[INTERPRETERS] = max(self.cells[INTERPRETERS], interpreter + 1)

    def __repr__(self) -> str:
        return f"<State tolerated={self.cells[TOLERATED]:.2f} limit={self.cells[LIMIT]:.2f}>"


def bytes_for(rows: int) -> int:
    """Return how much memory an instance with so many rows needs."""
    return (ROWS_AT + rows * ROW_CELLS) * CELL_BYTES
