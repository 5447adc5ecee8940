"""What is known of each worker's loads, kept across respawns: memory that the master makes and
every worker inherits.

A reload of the instance starts with an empty one: the new master is a new program.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os

from ..host import procfs
from ..shm.locks import lock
from ..shm.space import allocate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Optional

NAME = "resilient_wsgi_readiness"
ERROR_BYTES = 512

# what a slot's worker does
STARTED, PAUSING, LOADING, SERVING, FAILED, EXITED, DRAINED, UNWATCHED = range(8)
STATES = (
    "started",
    "pausing",
    "loading",
    "serving",
    "failed to load",
    "exited",
    "drained",
    "not watched",
)


class Slot(ctypes.Structure):
    """The worker with one number, through all its incarnations.

    Times are of the monotonic clock, which all share.
    """

    _fields_ = (
        ("pid", ctypes.c_int),
        ("state", ctypes.c_int),
        ("spawns", ctypes.c_int),
        ("failures", ctypes.c_int),  # in a row
        ("ready", ctypes.c_int),
        # the signal by which the load of its last worker crashed, 0 if it did not
        ("crash", ctypes.c_int),
        ("reported_pid", ctypes.c_int),  # the pid that a peer has said of that it is stuck
        ("since", ctypes.c_double),  # in this state
        ("checked_at", ctypes.c_double),  # when `ready` was found out
        ("next_try", ctypes.c_double),
        ("error_text", ctypes.c_char * ERROR_BYTES),
        ("problem_text", ctypes.c_char * ERROR_BYTES),
        ("degraded_text", ctypes.c_char * ERROR_BYTES),
    )
    pid: int
    state: int
    spawns: int
    failures: int
    ready: int
    crash: int
    reported_pid: int
    since: float
    checked_at: float
    next_try: float
    error_text: bytes
    problem_text: bytes
    degraded_text: bytes

    @property
    def error(self) -> str:
        """The last failure of a load, in words."""
        return self.error_text.decode(errors="replace")

    @error.setter
    def error(self, text: str) -> None:
        self.error_text = text.encode(errors="replace")[: ERROR_BYTES - 1]

    @property
    def problem(self) -> str:
        """Why the worker is not ready, in words."""
        return self.problem_text.decode(errors="replace")

    @problem.setter
    def problem(self, text: str) -> None:
        self.problem_text = text.encode(errors="replace")[: ERROR_BYTES - 1]

    @property
    def degraded(self) -> str:
        """What of its apps a worker that serves has not, in words."""
        return self.degraded_text.decode(errors="replace")

    @degraded.setter
    def degraded(self, text: str) -> None:
        self.degraded_text = text.encode(errors="replace")[: ERROR_BYTES - 1]

    def alive(self) -> bool:
        """Return whether its process runs: one that the master has not buried yet does not."""
        return procfs.runs(self.pid)

    def __repr__(self) -> str:
        return f"<Slot pid={self.pid} {STATES[self.state]} failures={self.failures}>"


class Head(ctypes.Structure):
    """What concerns the instance as a whole."""

    _fields_ = (
        ("layout", ctypes.c_int),
        ("slots", ctypes.c_int),
        ("ever_served", ctypes.c_int),  # also before the last reload
        ("served", ctypes.c_int),  # since the last reload
        ("ending", ctypes.c_int),
        ("draining", ctypes.c_double),  # since when; 0 if it is not
        ("healed_at", ctypes.c_double),  # when a peer was recycled last
    )
    layout: int
    slots: int
    ever_served: int
    served: int
    ending: int
    draining: float
    healed_at: float


def layout() -> int:
    """Return a number that another version of this library, with other fields, would not have."""
    return ctypes.sizeof(Head) << 16 | ctypes.sizeof(Slot)


class Board:
    """The head and a slot for each worker, in shared memory.

    A worker writes its own slot only. Where several write, or count others, they hold `lock()`,
    which the kernel opens when its holder dies.
    """

    def __init__(self, workers: int, fd: Optional[int] = None) -> None:
        """Make a new one, or, with the descriptor of one that is there, take part in it."""
        size = ctypes.sizeof(Head) + workers * ctypes.sizeof(Slot)
        if fd is None and hasattr(
            os, "memfd_create"
        ):  # has a name, by which it is found from outside, and can be locked
            fd = os.memfd_create(NAME)
            allocate(fd, size)  # a page that is not there when it is touched is SIGBUS
        self._fd = fd
        self._memory = mmap.mmap(-1 if fd is None else fd, size)
        self.head = Head.from_buffer(self._memory)
        self.head.layout, self.head.slots = layout(), workers
        self._slots = (Slot * workers).from_buffer(self._memory, ctypes.sizeof(Head))

    def close(self) -> None:
        """Give its descriptor back: it is found from outside no more, and cannot be locked.

        The memory stays.
        """
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def slots(self) -> List[Slot]:
        """Return all slots, the first worker's first."""
        return list(self._slots)

    def __repr__(self) -> str:
        return f"<Board {list(self._slots)}>"

    def slot(self, worker: int) -> Slot:
        """Return the slot of a worker, by its number from 1."""
        slot: Slot = self._slots[worker - 1]
        return slot

    def started(self) -> List[Slot]:
        """Return the slots of the workers that were started at all."""
        return [slot for slot in self._slots if slot.spawns]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the others out, or do without: the app may have closed the descriptor, a holder may
        be stopped.
        """
        locked = False
        with contextlib.suppress(OSError):
            if self._fd is not None:
                lock(self._fd)
                locked = True
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if locked and self._fd is not None:
                    fcntl.lockf(self._fd, fcntl.LOCK_UN)
