"""A worker from its start until it is known whether it has an app: pause, load, and leave or serve."""

from __future__ import annotations

import atexit
import contextlib
import math
import sys
import threading
from typing import Callable, NoReturn

from .. import events
from ..core import frames
from ..servers import Server
from ..settings import REPORT, Readiness
from ..system import SYSTEM, System
from . import checks, failure, master, pace
from .board import DRAINED, FAILED, LEFT, LOADING, NOTHING, PAUSING, SERVING, Board, Slot
from .monitor import Monitor

KILLED = "its load was killed: out of memory, a crash, or a hang that was ended"
EXITED = "its load ended the process, as sys.exit() does"
FUSE_SECONDS = 3
MASTER_STARTS = 1.0
LOOK_EVERY = 1.0
FLUSH_SECONDS = 0.5
WARM_UP_LOOKS = 0.05


class Worker:
    """What readiness does in each worker. Made in the master; the workers inherit it.

    A fresh process is the only honest retry: Django cannot be set up twice in one interpreter. So a worker whose load failed
    leaves at once, and the *next* one pauses, before its load: it holds no memory that the others may need, and a chain
    reload waits for it, as uWSGI does not take it for one that accepts.
    """

    def __init__(self, server: Server, board: Board, options: Readiness, system: System = SYSTEM) -> None:
        self.options = options
        self._server = server
        self._board = board
        self._system = system
        self._remove_trap: Callable[[], object] = lambda: None
        self._timed = False

    def __repr__(self) -> str:
        return f"<readiness of {self._server.identity()}: {self._slot()}>"

    def _slot(self) -> Slot:
        return self._board.slot(self._server.identity().worker)

    # From the fork to the load

    def start(self) -> None:
        """Note that the worker was started; in lazy-apps, pause if its predecessor failed, and watch over the load."""
        slot = self._slot()
        killed = slot.state == LOADING
        slot.spawns += 1
        slot.pid = self._system.getpid()
        slot.ready = 0
        self._enter(slot, NOTHING)
        if self.options.mode == REPORT:
            return
        self._server.leave_while_starting(lambda: self._leave(LEFT))
        self._stay_drained(slot)
        if not self._server.loads_in_worker():
            master.forget()
            return
        if killed:
            self._failed(slot, KILLED)
        if slot.failures:
            self._pause(slot)
        self._enter(slot, LOADING)
        failure.keep_reserve()
        self._set_traps()

    def _stay_drained(self, slot: Slot) -> None:
        """Take the place of a worker that went because the instance is being emptied: serve nothing, hear the stop."""
        while self._board.head.draining:
            self._enter(slot, DRAINED)
            self._sleep(LOOK_EVERY)

    def _pause(self, slot: Slot) -> None:
        self._enter(slot, PAUSING)
        self._sleep(slot.next_try - self._system.monotonic())

    def _sleep(self, seconds: float) -> None:
        """Sleep, and leave when the instance ends. A stop signal cuts it short too, but may never come.

        uWSGI's master sends none to a worker that it is just forking, whose pid it has not noted yet.
        """
        end = self._system.monotonic() + seconds
        while True:
            if self._board.head.ending:
                self._leave(LEFT)
            left = end - self._system.monotonic()
            if left <= 0:
                return
            self._system.sleep(min(left, LOOK_EVERY))

    def _set_traps(self) -> None:
        """Get there first when the load ends the process: by `sys.exit`, by uWSGI's own `exit(22)`, by never ending."""
        register = getattr(threading, "_register_atexit", atexit.register)
        register(lambda: self._load_exited(EXITED))
        self._remove_trap = self._server.trap_exit(lambda: self._load_exited(self._server.load_problem()))
        limit = pace.load_limit(self.options)
        self._timed = limit > 0
        if self._timed:
            frames.end_later(limit, 2)
            self._server.set_fuse(math.ceil(limit) + FUSE_SECONDS)  # should the dump itself be stuck

    def _load_exited(self, how: str) -> None:
        slot = self._slot()
        if slot.state == LOADING and slot.pid == self._system.getpid():
            self._failed_and_leave(slot, failure.last() or how)

    def _disarm(self) -> None:
        self._remove_trap()
        if self._timed:
            self._timed = False
            frames.cancel_end()
            self._server.set_fuse(0)
        failure.release_reserve()

    def let_go(self) -> None:
        """Watch over this process no more: readiness was switched off, by the app's own settings perhaps, while it loads."""
        if self._server.identity().worker:
            self._disarm()
            self._enter(self._slot(), NOTHING)

    # When the load is over

    def loaded(self) -> None:
        """Decide, before the worker accepts anything, whether it may: one without an app never returns from here."""
        try:
            self._decide(self._slot())
        except MemoryError:  # what cannot be told cannot be served either
            self._server.leave()

    def _decide(self, slot: Slot) -> None:
        problem = self._problem()
        self._disarm()
        if not problem:
            self._serve(slot)
        elif self.options.mode == REPORT:
            events.emit(events.LoadFailed(self._server.identity().worker, problem, 1, 0.0))
        elif self._server.loads_in_worker():
            self._failed_and_leave(slot, problem)
        else:  # the master loaded it, or rather did not, and each worker that it forks will be as this one
            # it must have come to its loop, or the signal would be lost or hit Python's own handler
            self._system.sleep(MASTER_STARTS)
            self._end_instance(problem)

    def _problem(self) -> str:
        problem = self._server.load_problem()
        if problem:
            return failure.last() or problem
        # an app whose URLconf cannot be imported answers 500 to everything: Django imports it in the first request
        if self.options.check_urlconf and "django" in sys.modules:
            from ..django import readiness

            return readiness.urlconf_problem()
        return ""

    def _serve(self, slot: Slot) -> None:
        if slot.failures:
            events.emit(events.WorkerLoaded(self._server.identity().worker, slot.failures))
        slot.failures = 0
        self._board.head.ever_loaded = 1
        if self.options.mode != REPORT:
            self._warm_up()
        self._enter(slot, SERVING)
        Monitor(self, self._server, self._board, self._system).start()

    def _warm_up(self) -> None:
        """Wait for the readiness checks before anything is accepted, and keep a chain reload waiting even longer."""
        checks.start()
        if checks.passed():
            return
        self._server.set_accepting(False)  # the monitor says when it does
        end = self._system.monotonic() + self.options.warm_up
        while not checks.passed() and self._system.monotonic() < end:
            self._system.sleep(WARM_UP_LOOKS)

    def _failed_and_leave(self, slot: Slot, error: str) -> NoReturn:
        # without any memory not even CPython's own loops all come to an end (3.11: the dictionary of a log record)
        self._server.set_fuse(FUSE_SECONDS)
        try:
            self._failed(slot, error)
            self._leave(FAILED)
        finally:  # out of memory, say: it must not serve. The next one finds LOADING, and counts it
            self._server.leave()

    def _failed(self, slot: Slot, error: str) -> None:
        failures = slot.failures + 1
        seconds = pace.pause(failures, self.options)
        # before it is counted: should this process be killed just now, as one that crashes may be, the next one says and counts it
        events.emit(events.LoadFailed(self._server.identity().worker, error, failures, seconds))
        with self._board.lock():
            slot.failures = failures
            slot.error = error
            slot.next_try = self._system.monotonic() + seconds
            hopeless = not self._board.head.ever_loaded and all(
                each.failures >= self.options.attempts for each in self._board.started()
            )
        self._enter(slot, PAUSING)
        if hopeless:
            self._end_instance(error)

    def _end_instance(self, error: str) -> NoReturn:
        with self._board.lock():
            first, self._board.head.ending = not self._board.head.ending, 1
        if first:
            events.emit(events.InstanceEnded(self.options.attempts, error))
            self._server.end_instance()
        self._system.sleep(LOOK_EVERY)  # the master's signal comes, or it does not
        self._leave(FAILED)

    def _leave(self, state: int) -> NoReturn:
        self._enter(self._slot(), state)
        with contextlib.suppress(Exception):
            drain = getattr(sys.stderr, "drain", None)
            if drain is not None:  # our own stream: what found no room yet would be lost
                drain(FLUSH_SECONDS)
        self._server.leave()

    def _enter(self, slot: Slot, state: int) -> None:
        slot.state = state
        slot.since = self._system.monotonic()

    def instance_failed(self) -> bool:
        """Return whether the instance was ended because no worker ever had an app."""
        return bool(self._board.head.ending)
