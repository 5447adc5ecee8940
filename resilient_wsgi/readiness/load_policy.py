"""The one policy for loads that fail, for uWSGI and gunicorn: how long a load may take, when the
next attempt is, and when there is none.

A fresh process is the only honest retry: Django cannot be set up twice in one interpreter. So a
worker whose load failed exits, and its successor pauses before its own load, where it holds no
memory that other workers may need. The worker's row in the scoreboard outlives the worker: a
successor that finds its predecessor still LOADING knows that the load was killed.
"""

from __future__ import annotations

import math
import os
import random
import signal
from types import FrameType
from typing import Callable, Optional

from .. import events
from ..core import frames
from ..core.system import SYSTEM
from ..core.text import REASON_LIMIT, printable
from ..events.lifecycle import LAST, PAUSED, WAITS, NextTry
from ..servers import Server
from ..settings.options import AUTO, Readiness
from ..shm.rows import OwnRow
from ..shm.scoreboard import Scoreboard
from .states import LOADING, PAUSING, STARTED

JITTER = 0.2
WORKER_LIMIT = 60.0
KILLED = (
    "its load was killed: a crash, out of memory, or a hang that was ended; "
    "the server's own line above says by which signal"
)
GRACE_SECONDS = 3  # from the end of a load that hangs until the master kills the worker
FAILED_CODE = 22


def load_limit(options: Readiness) -> float:
    """Return how many seconds a load in a worker may take, 0 for no limit."""
    limit = options.startup_timeout
    if limit == AUTO:
        return WORKER_LIMIT
    return 0.0 if limit is None else float(limit)


class LoadPolicy:
    """What the scoreboard and the settings say about the next load of a worker.

    It decides, counts and logs. It does not sleep and ends nothing: the workers do.
    """

    def __init__(
        self,
        board: Scoreboard,
        options: Readiness,
        *,
        respawns: Callable[[], bool] = lambda: True,
        workers: int = 0,
        clock: Callable[[], float] = SYSTEM.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`respawns` returns whether the server starts a successor for a worker that exits;
        `workers` is how many of them it always starts, where that is known.
        """
        self.options = options
        self._workers = workers
        self._board = board
        self._respawns = respawns
        self._clock = clock
        self._chance = chance

    def __repr__(self) -> str:
        return f"<LoadPolicy attempts={self.options.attempts} {self._board!r}>"

    def limit(self) -> float:
        """Return how many seconds a load in a worker may take, 0 for no limit."""
        return load_limit(self.options)

    def pause(self, failures: int) -> float:
        """Return the pause after this many failures in a row: it doubles up to MAX_PAUSE, minus a
        random fifth at most, so that workers do not load in step.
        """
        first, longest = self.options.first_pause, self.options.max_pause
        seconds: float = min(longest, first * 2.0 ** min(failures - 1, 30))
        return seconds * (1 - JITTER * self._chance())

    def begin(self, row: OwnRow) -> str:
        """Note a new process in its row; return how its predecessor's load was killed, "" if it was
        not.
        """
        killed = self._how_killed(row) if row.state == LOADING else ""
        row.spawns += 1
        row.ready = 0
        row.degraded = ""
        self.enter(row, STARTED)
        return killed

    def enter(self, row: OwnRow, state: int) -> None:
        """Note what a worker does from now on."""
        row.state = state
        row.since = self._clock()

    def failed(self, row: OwnRow, worker: int, error: str) -> bool:
        """Log a failed load and count it; return whether no attempt is left for any worker."""
        failures, error = row.failures + 1, printable(error, REASON_LIMIT)
        pause = self.pause(failures)
        # logged before it is counted: if this process is killed just now, as one that crashes may
        # be, its successor logs and counts the failure
        events.emit(events.LoadFailed(worker, error, failures, pause, self.next_try(row, failures)))
        with self._board.lock():
            row.failures, row.error = failures, error
            row.next_try = self._clock() + pause
            hopeless = self.hopeless(row, failures)
        self.enter(row, PAUSING)
        return hopeless

    def next_try(self, row: OwnRow, failures: int) -> NextTry:
        """Return what `LoadFailed` says about the next attempt."""
        if self.hopeless(row, failures):
            return LAST
        if self._board.header.ever_served or failures < self.options.attempts:
            return PAUSED
        return WAITS

    def hopeless(self, row: OwnRow, failures: int) -> bool:
        """Return whether no worker ever had an app and each has used up its attempts, this one
        with so many failures.
        """
        if not self._respawns():
            return True
        if self._board.header.ever_served or failures < self.options.attempts:
            return False
        started = self._board.started()
        others = [each for each in started if each.index != row.index]
        return len(started) >= self._workers and all(
            each.failures >= self.options.attempts for each in others
        )

    def give_up(self) -> bool:
        """Note that the instance ends; return whether this worker is the first to say so."""
        with self._board.lock():
            first = not self._board.header.ending
            self._board.header.ending = 1
        return first

    def pause_left(self, row: OwnRow) -> float:
        """Return how many seconds a worker has to wait before it may load, 0 or less for none."""
        return row.next_try - self._clock() if row.failures else 0.0

    def loaded(self, row: OwnRow, worker: int) -> None:
        """Note that a worker has its app, and so that the instance serves."""
        failures, row.failures = row.failures, 0
        if failures:
            events.emit(events.WorkerLoaded(worker, failures))
        header = self._board.header
        if not header.served:
            with self._board.lock():
                header.served = header.ever_served = 1
                header.failed_loads = 0

    def _how_killed(self, row: OwnRow) -> str:
        crash, row.crash = row.crash, 0
        if crash:
            return f"its load crashed: {signal.Signals(crash).name}"
        limit = self.limit()
        if limit and self._clock() - row.since >= limit:
            return f"its load took longer than {limit:g} s and was ended"
        return KILLED


class LoadTimer:
    """Ends this process if its load takes too long, with the stacks of all threads in the log."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._runs = False

    def start(self, seconds: float) -> None:
        """Start it; 0 is no limit."""
        if seconds:
            self._runs = True
            frames.end_later(seconds, 2)
            # in case the dump itself gets stuck
            self._server.set_kill_timer(math.ceil(seconds) + GRACE_SECONDS)

    def cancel(self) -> None:
        """Stop it: the load is over."""
        if self._runs:
            self._runs = False
            frames.cancel_end()
            self._server.set_kill_timer(0)


def limit_load_in_master(seconds: float) -> None:
    """End this process with code 22, its stacks on standard error, unless it has left Python within
    `seconds`.

    faulthandler's timer would work without Python's help, but its watchdog is a thread that a child
    does not have and would wait for, and nothing of Python runs in the master between the load and
    the fork that could stop it. A signal's handler runs in Python code, of which the master has
    none after the load, and its timer is not inherited. So it does not end a load that hangs inside
    C code.
    """
    master = os.getpid()

    def end(_number: int, _frame: Optional[FrameType]) -> None:
        if os.getpid() == master:  # the signal may have come just before a fork
            os.write(
                2,
                b"resilient_wsgi: [RW607] the load in the master takes longer than %g s\n"
                % seconds,
            )
            frames.dump(2)
            os._exit(FAILED_CODE)  # exit functions may be what hangs

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def release_signal() -> None:
    """Give SIGALRM back, in a worker that was forked from such a master."""
    if getattr(signal.getsignal(signal.SIGALRM), "__module__", "") == __name__:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
