"""What is known of each worker's loads, kept across respawns: memory that the master makes and every worker inherits.

A reload of the instance starts with an empty one: the new master is a new program.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from contextlib import contextmanager
from typing import Iterator, List, Optional

NAME = "resilient_wsgi_readiness"
ERROR_BYTES = 256

# what a slot's worker does
NOTHING, PAUSING, LOADING, SERVING, FAILED, LEFT = range(6)
STATES = ("not started", "pausing", "loading", "serving", "failed to load", "left")


class Slot(ctypes.Structure):
    """The worker with one number, through all its incarnations. Times are of the monotonic clock, which all share."""

    _fields_ = (
        ("pid", ctypes.c_int),
        ("state", ctypes.c_int),
        ("spawns", ctypes.c_int),
        ("failures", ctypes.c_int),  # in a row
        ("since", ctypes.c_double),  # in this state
        ("next_try", ctypes.c_double),
        ("error_text", ctypes.c_char * ERROR_BYTES),
    )
    pid: int
    state: int
    spawns: int
    failures: int
    since: float
    next_try: float
    error_text: bytes

    @property
    def error(self) -> str:
        """The last failure, in words."""
        return self.error_text.decode(errors="replace")

    @error.setter
    def error(self, text: str) -> None:
        self.error_text = text.encode(errors="replace")[: ERROR_BYTES - 1]

    def __repr__(self) -> str:
        return f"<Slot pid={self.pid} {STATES[self.state]} failures={self.failures}>"


class Head(ctypes.Structure):
    """What concerns the instance as a whole."""

    _fields_ = (
        ("slots", ctypes.c_int),
        ("ever_loaded", ctypes.c_int),
        ("ending", ctypes.c_int),
        ("respawn_run", ctypes.c_int),
        ("last_spawn", ctypes.c_double),
    )
    slots: int
    ever_loaded: int
    ending: int
    respawn_run: int
    last_spawn: float


class Board:
    """The head and a slot for each worker, in shared memory.

    A worker writes its own slot only. Where several write, or count others, they hold `lock()`, which the kernel opens
    when its holder dies.
    """

    def __init__(self, workers: int) -> None:
        size = ctypes.sizeof(Head) + workers * ctypes.sizeof(Slot)
        self._fd: Optional[int] = None
        if hasattr(os, "memfd_create"):  # has a name, by which it is found from outside, and can be locked
            self._fd = os.memfd_create(NAME)
            os.ftruncate(self._fd, size)
        self._memory = mmap.mmap(-1 if self._fd is None else self._fd, size)
        self.head = Head.from_buffer(self._memory)
        self.head.slots = workers
        self._slots = (Slot * workers).from_buffer(self._memory, ctypes.sizeof(Head))

    def __repr__(self) -> str:
        return f"<Board {list(self._slots)}>"

    def slot(self, worker: int) -> Slot:
        """Return the slot of a worker, by its number from 1."""
        slot: Slot = self._slots[worker - 1]
        return slot

    def started(self) -> List[Slot]:
        """Return the slots of the workers that were started at all."""
        return [slot for slot in self._slots if slot.spawns]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the others out. The app may have closed the descriptor: then it is done without."""
        locked = self._try(fcntl.LOCK_EX)
        try:
            yield
        finally:
            if locked:
                self._try(fcntl.LOCK_UN)

    def _try(self, operation: int) -> bool:
        try:
            if self._fd is not None:
                fcntl.lockf(self._fd, operation)
                return True
        except OSError:
            pass
        return False
