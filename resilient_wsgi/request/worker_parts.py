"""What each worker has for its requests: a row in the scoreboard, a watchdog, stacks on demand.

It starts when the worker is ready (the hook of the server, or the first request) and stops with the
worker; never in a master.
"""

from __future__ import annotations

import contextlib
import os
import time
from threading import get_ident
from typing import TYPE_CHECKING, Callable, Optional

from ..core import frames
from ..core.guard import Guard
from ..core.log import named
from ..core.system import PROCESS
from ..errors import Unavailable
from ..events import Event, WorkerKilled, subscribe
from ..events.announcer import Announcer
from ..servers import Server
from ..settings.options import REPORT, Request
from ..shm import instance, layout, scoreboard
from ..shm.fields import cut
from ..shm.naming import file_name
from ..shm.rows import OwnRow, Predecessor
from ..shm.scoreboard import Scoreboard
from ..upstream import meeting
from . import stack_dumps
from .last_resort import GilWatchdog, SoftTimeout
from .recycling import Recycling
from .running import running
from .stacks_on_demand import StacksOnDemand, in_worker, usable
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .ended_waits import EndedWaits, WorkerWaits
    from .waiting import Waiting

_guard = Guard("request")
_logger = named("request")
BEAT_BYTES = 16384
NO_FRAMES = "no stacks, no GIL_TIMEOUT, and no worker is replaced because of a request"


class WorkerParts:
    """What this worker has; `start` and `stop` are called by the server's hooks."""

    def __init__(
        self,
        options: Request,
        server: Server,
        *,
        watching: bool,
        announcer: Callable[[], Announcer] = Announcer,
    ) -> None:
        self.options = options
        self.server = server
        self._watching = watching
        self._announcer = announcer  # of the process that asks
        # at once: what the app opens while it is loaded in this very process is its own
        self._waits = self._make_waits() if watching else None
        self._process: object = None  # whose they are
        self._clear()

    def _clear(self) -> None:
        self.board: Optional[Scoreboard] = None
        self.unshared = ""  # why not
        self.row: Optional[OwnRow] = None
        self.watchdog: Optional[Watchdog] = None
        self.announcer = self._announcer()
        self.stacks: Optional[StacksOnDemand] = None
        self._soft: Optional[SoftTimeout] = None
        self._stop_counting: Callable[[], None] = _nothing
        self._beat_file: Optional[int] = None

    def start(self) -> None:
        """Put everything in place in this process; a part that cannot be had is left out."""
        if self._process is PROCESS.token():
            return
        self._process = PROCESS.token()
        self._clear()  # what a parent had is the parent's
        running.begin(os.getpid())
        with _guard:
            try:
                self._share()
            except (OSError, Unavailable) as reason:
                self.unshared = str(reason)
                _logger.warning(
                    "[RW211] %s: killed workers will not be reported, nor stuck ones replaced",
                    self.unshared,
                )
        with _guard:
            self.stacks = (
                StacksOnDemand(self.options, self.server, self._waiting())
                if in_worker(self.server)
                else None
            )
            if self.stacks is not None and self.stacks.no_socket:
                _logger.warning("[RW212] no stacks on demand: %s", self.stacks.no_socket)
            if frames.why_not():
                _logger.warning("[RW213] %s: %s", NO_FRAMES, frames.why_not())
        with _guard, contextlib.suppress(Unavailable):
            self._set_soft_timeout()
        if self._watching:
            self._watch()
            self._say_unended()
        elif self.stacks is not None:
            with _guard:
                self.stacks.start_thread()
        self.server.harakiri.on_set(self._harakiri_set)

    def stop(self) -> None:
        """Take everything away, in an orderly end of this process."""
        if self._process is not PROCESS.token():
            return
        self.server.harakiri.on_set(None)
        if self.watchdog is not None:
            self.watchdog.stop()
        self.announcer.wait(0.5)
        with _guard:
            self._give_back()
        with _guard:
            if self.stacks is not None:
                self.stacks.close()
        with _guard:
            scoreboard.leave()
        if self._soft is not None:
            self._soft.close()
        self._process = None
        self._clear()

    def _say_unended(self) -> None:
        with _guard:
            unended = "" if self._waits is None else self._waits.new_reason()
            if unended:
                _logger.warning("[RW214] %s", unended)

    def _make_waits(self) -> WorkerWaits:
        from .ended_waits import WorkerWaits  # 8 ms, which only a watchdog is worth

        return WorkerWaits(self.options)

    def _waiting(self) -> Optional[Waiting]:
        return None if self._waits is None else self._waits.waiting()

    def _watch(self) -> None:
        with _guard:
            if self._waits is None:  # only the app knew that there would be deadlines
                self._waits = self._make_waits()
            self.watchdog = self._make_watchdog()
            self.watchdog.start()

    def _harakiri_set(self) -> None:
        """Follow the harakiri that the app has set for the request of this thread."""
        with _guard:
            slot, budget = running.slot_of(get_ident()), running.budget
            request = None if slot is None else slot.request
            if request is None or budget is None:
                return
            limit = budget.now(request, time.monotonic() - request.start)
            if limit != request.limit:
                request.move(request.start + limit)
                if self.watchdog is None:
                    self._watch()

    def _share(self) -> None:
        identity = self.server.identity()
        if not identity.master_pid or (
            not self.options.record and not self.options.recycles_per_minute
        ):
            return
        self.board = board = Scoreboard.of_this_instance()
        if not self.options.record:
            return
        self.row = board.mine()
        if self.row is not None:
            self._stop_counting = subscribe(self._count)
            self._report_killed(board.predecessor, self.row)
            running.give(self.row.threads[::-1])  # taken from the end: the first one first
            meeting.place_of = running.place_of
            self._open_beat_file(self.row)

    def _count(self, event: Event) -> None:
        """Count an event in the row, where it outlives this worker and is read from outside."""
        row, board = self.row, self.board
        if row is not None and board is not None and self._process is PROCESS.token():
            row.count(board.counter(type(event).__name__))

    def _report_killed(self, killed: Optional[Predecessor], row: OwnRow) -> None:
        """Report what the worker was doing that had this row before and was killed."""
        if killed is None:
            return
        last_words, reported = _take_text(_beat_name(row)), False
        for request in killed.requests:
            elapsed = max(0.0, killed.seen - request.begun)
            stacks = "" if reported else last_words or _stacks_of(request, killed)
            reported = reported or bool(stacks)
            what = request.method, request.path, elapsed, request.doing, stacks
            self.announcer(WorkerKilled(killed.worker, killed.pid, *what))

    def _open_beat_file(self, row: OwnRow) -> None:
        if self.options.gil_timeout is not None:
            self._beat_file = instance.directory().open(
                _beat_name(row), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            )

    def _set_soft_timeout(self) -> None:
        name = self.options.soft_signal
        wanted = (
            self.options.soft_timeout
            and name != self.options.stacks_signal
            and self.server.configuration.threads() == 1
        )
        if wanted and name is not None and usable(name, self.server):
            self._soft = SoftTimeout(stack_dumps.number(name))

    def _make_watchdog(self) -> Watchdog:
        options, recycling, heartbeat = self.options, None, None
        if self.board is not None and options.recycles_per_minute:
            recycling = Recycling(
                options, self.server, self.board, self.announcer, self._before_leaving
            )
        if options.gil_timeout is not None and options.mode != REPORT:
            heartbeat = GilWatchdog(
                options.gil_timeout, 2 if self._beat_file is None else self._beat_file
            )
        return Watchdog(
            options,
            self.announcer,
            recycling=recycling,
            row=self.row,
            soft=self._soft,
            heartbeat=heartbeat,
            answering=self.stacks.socket if self.stacks is not None else None,
            waiting=self._waiting(),
            ended_waits=self._ended_waits(),
        )

    def _ended_waits(self) -> Optional[EndedWaits]:
        return None if self._waits is None else self._waits.ended_waits(self.announcer)

    def _before_leaving(self) -> None:
        self.announcer.wait(0.5)
        self._give_back()

    def _give_back(self) -> None:
        row, board = self.row, self.board
        self._stop_counting()
        self.row = None
        if row is None or board is None:
            return
        running.take_back()
        board.release()
        if self._beat_file is not None:
            instance.directory(make=False).unlink(_beat_name(row))


def _nothing() -> None:
    """Do nothing: there is nothing to end."""


def _stacks_of(request: layout.Request, killed: Predecessor) -> str:
    """Return the last stacks of a worker, and how old they were, if this request ran when they were
    taken.
    """
    dump = killed.stacks
    # what another version of the library has left there may be any number
    if not dump.text or not request.begun <= dump.taken <= killed.seen:
        return ""
    return f"stacks taken {max(0.0, killed.seen - dump.taken):.1f} s earlier:\n{dump.text}"


def _beat_name(row: OwnRow) -> str:
    return file_name("gil", row.index)


def _take_text(name: str) -> str:
    """Return what a worker wrote when it ended because of the GIL, and remove it; `""` if there is
    nothing.
    """
    try:
        directory = instance.directory(make=False)
        fd = directory.open(name, os.O_RDONLY)
        try:
            data = os.read(fd, BEAT_BYTES + 1)
        finally:
            os.close(fd)
        directory.unlink(name)
    except (OSError, Unavailable):
        return ""
    return cut(data, BEAT_BYTES).decode(errors="replace")
