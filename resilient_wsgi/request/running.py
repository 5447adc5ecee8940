"""The table of running requests: a slot for each thread, written by that thread alone, read by the
watchdog. No lock.

Writing an attribute is one step for the interpreter, and only its own thread writes what a slot
holds. It is the thread that names the slot, not the request, so one whose `close()` never came is
overwritten by the next.
"""

from __future__ import annotations

import math
import os
from threading import get_ident, get_native_id
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple

from ..core.environ import WAITED, method_and_path
from ..core.system import SYSTEM, System
from ..core.text import printable
from ..deadline import Deadline
from .budget import Budget

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..shm.rows import ThreadRow


class RequestDeadline(Deadline):
    """A deadline that names its request, in words made only when they are read.

    `at` is infinity where there is none.
    """

    # `noticed`: what the watchdog has seen it wait for; not there until it has looked, because
    # every request would pay for that
    __slots__ = ("client_fd", "client_gone", "environ", "noticed", "start", "timed_out")

    of_request = True
    noticed: str

    def __init__(
        self,
        now: float,
        limit: float,
        environ: WSGIEnvironment,
        outer: Optional[Deadline] = None,
        system: System = SYSTEM,
    ) -> None:
        self.at = now + limit
        self.limit = limit
        self.finished = False
        self.outer = outer
        self.waits = {}
        self._system = system
        self.start = now
        self.environ = environ
        self.client_fd = -1
        self.client_gone = False
        self.timed_out = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """Return method and path of the request, for messages."""
        return printable("{} {}".format(*method_and_path(self.environ)))

    @property
    def source(self) -> str:  # type: ignore[override]
        """Return which request it is the deadline of."""
        return f"request deadline of {self.name}"

    def extend(self, seconds: float) -> None:
        """Let it be `seconds` from now if that is later, as far as harakiri allows."""
        now = self._system.monotonic()
        budget = running.budget
        most = math.inf if budget is None else self.start + budget.most(self, now - self.start)
        self.move(max(self.at, min(now + seconds, most)))

    def move(self, at: float) -> None:
        """Let it be another time."""
        self.at = at
        self.limit = at - self.start

    @property
    def due(self) -> float:
        """When it has to be over: `at`, or earlier if the client is gone."""
        return self.start + self.limit

    @property
    def waited(self) -> float:
        """How long it waited in the queue before, as far as that is known."""
        seconds: float = self.environ.get(WAITED, 0.0)
        return seconds

    def doing(self) -> str:
        """Return what it waits for, as far as that is known, else `""`."""
        waits = ", ".join(filter(None, (str(wait.doing) for wait in list(self.waits))))
        return waits or getattr(self, "noticed", "")


class ReportedDeadline(RequestDeadline):
    """The deadline of a request in report mode: the watchdog sees it, and it limits nothing."""

    __slots__ = ()

    enforced = False


class Slot:
    """What one thread works on: `request` is None between requests. `row` is its place in the
    scoreboard, if it has one; `native` is the kernel's number of the thread, 0 if that is not
    known.
    """

    __slots__ = ("native", "pid", "request", "row", "thread")

    def __init__(self, thread: int, row: Optional[ThreadRow], native: int = 0) -> None:
        self.thread = thread
        self.native = native
        self.pid = os.getpid()
        self.request: Optional[RequestDeadline] = None
        self.row = row

    def finish(self, request: RequestDeadline) -> None:
        """Note that a request is over, unless the thread has begun another one since."""
        request.finished = True
        if self.request is request:
            self.request = None
            if self.row is not None:
                self.row.clear()


class Running:
    """The slots of this process's threads.

    While the watchdog rests, they are put aside: a thread finds none then, asks for it, and that
    wakes the watchdog. So a request pays nothing for it, except the first one after a rest.
    """

    def __init__(self) -> None:
        self.slots: Dict[int, Slot] = {}
        self.rows: List[ThreadRow] = []  # places in the scoreboard that no thread has taken yet
        self.budget: Optional[Budget] = None
        self._resting: Dict[int, Slot] = {}
        self._wake: Optional[Callable[[], object]] = None
        self._pid = 0

    def add_thread(self) -> Slot:
        """Return the slot of the calling thread, a new one if it has none.

        Threads that are no more leave theirs to the next of the same name.
        """
        thread = get_ident()
        slot = self._resting.pop(thread, None) or Slot(thread, self._free_row())
        slot.native = get_native_id()  # after a rest the thread may be another one of that name
        self.slots[thread] = slot
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()
        return slot

    def _free_row(self) -> Optional[ThreadRow]:
        try:
            return self.rows.pop()
        except IndexError:
            return None

    def rest(self, wake: Callable[[], object]) -> None:
        """Have `wake` called, once, when the next request begins in any thread.

        A thread that has looked up its slot just now goes on without: look at `requests()` once
        more before you rest.
        """
        self._wake = wake
        for thread in list(self.slots):
            slot = self.slots.pop(thread, None)
            if slot is not None:
                self._resting[thread] = slot

    def _all(self) -> List[Slot]:
        return [*list(self.slots.values()), *list(self._resting.values())]

    def requests(self) -> List[Tuple[int, RequestDeadline]]:
        """Return thread and request of all that run, the oldest first.

        For the watchdog: the table may change meanwhile.
        """
        found = [
            (slot.thread, request) for slot in self._all() if (request := slot.request) is not None
        ]
        return sorted(found, key=lambda pair: pair[1].start)

    def place_of(self, thread: int) -> Optional[int]:
        """Return the place of a thread in the columns of the scoreboard, None if it has none."""
        slot = self.slots.get(thread) or self._resting.get(thread)
        return None if slot is None or slot.row is None else slot.row.index

    def slot_of(self, thread: int) -> Optional[Slot]:
        """Return the slot of a thread, None if it has none."""
        return self.slots.get(thread) or self._resting.get(thread)

    def begin(self, pid: int) -> None:
        """Drop what a parent process had.

        Requests that other threads have begun in this one stay.
        """
        if self._pid != pid:
            self._pid = pid
            self.rows = []
            self._resting = {}
            for thread, slot in list(self.slots.items()):
                if slot.pid != pid:
                    self.slots.pop(thread, None)

    def forked(self) -> None:
        """Let a process that the app has forked in a request be in no request: nothing ends that
        here.
        """
        self._wake = None
        for slot in self._all():
            if slot.request is not None:
                slot.request.finished = True
            slot.request = slot.row = None

    def give(self, rows: List[ThreadRow]) -> None:
        """Give each known thread, and each that comes later, a place in the scoreboard."""
        fresh = frozenset(rows)
        self.rows = rows  # first: a thread that comes just now takes one itself
        for slot in self._all():
            if slot.row not in fresh:
                slot.row = row = self._free_row()
                if row is not None:
                    _note_begun(slot, row)

    def take_back(self) -> None:
        """Stop all writes into the scoreboard: the row may be another worker's."""
        self.give([])

    def forget(self) -> None:
        """Forget all threads, as if there had been no requests."""
        self._wake = None
        self.slots.clear()
        self._resting.clear()
        self.rows = []

    def __repr__(self) -> str:
        return f"<Running {len(self.requests())} requests in {len(self._all())} threads>"


def _note_begun(slot: Slot, row: ThreadRow) -> None:
    """Write down a request that had begun before its thread had a row: it ends without one, too."""
    request = slot.request
    if request is None:
        return
    method, path = method_and_path(request.environ)
    row.begin(request.start, request.at, method.encode(), path.encode(), request.start)
    if slot.request is not request:
        row.clear()


# one for the process, whatever the number of wrapped apps
running = Running()
# os.fork() and multiprocessing; uWSGI forks without it, from a master that has no requests
os.register_at_fork(after_in_child=running.forked)
