"""A worker from its start until it is known whether it has an app: pause, load, and leave or serve."""

from __future__ import annotations

import atexit
import math
import signal
import sys
import threading
from typing import Callable, NoReturn, Optional

from .. import events
from ..core import frames
from ..core.system import SYSTEM, System
from ..core.text import REASON_LIMIT, printable
from ..events.workers import AT_RELOAD, PAUSED, REPORTED
from ..servers import Server
from ..settings.options import REPORT, Readiness
from . import checks, history, last_error as failure, master, pace
from .board import DRAINED, FAILED, LEFT, LOADING, NOTHING, PAUSING, SERVING, UNWATCHED, Board, Slot
from .ending import LOOK_EVERY, Ending
from .history import History
from .monitor import Monitor

KILLED = "its load was killed: a crash, out of memory, or a hang that was ended; uWSGI's line above says by which signal"
EXITED = "its load ended the process, as sys.exit() does"
FUSE_SECONDS = 3
MASTER_STARTS = 1.0
WARM_UP_LOOKS = 0.05


class Worker(Ending):
    """What readiness does in each worker. Made in the master; the workers inherit it.

    A fresh process is the only honest retry: Django cannot be set up twice in one interpreter. So a
    worker whose load failed leaves at once, and the *next* one pauses, before its load: it holds no
    memory that the others may need, and a chain reload waits for it, as uWSGI does not take it for
    one that accepts.
    """

    def __init__(
        self,
        server: Server,
        board: Board,
        options: Readiness,
        system: System = SYSTEM,
        past: Optional[History] = None,
    ) -> None:
        super().__init__(server, board, options, system, past)
        self._remove_trap: Callable[[], object] = lambda: None
        self._timed = False
        self._wrong_urls = ""  # where other apps can be served all the same

    def __repr__(self) -> str:
        return f"<readiness of {self._server.identity()}: {self._slot()}>"

    # From the fork to the load

    def start(self) -> None:
        """Note that the worker was started; in lazy-apps, pause if its predecessor failed, and
        watch over the load.
        """
        slot = self._slot()
        killed, since = slot.state == LOADING, slot.since
        slot.spawns += 1
        slot.pid = self._system.getpid()
        slot.ready = 0
        slot.degraded = ""
        self._enter(slot, NOTHING)
        if self.options.mode == REPORT:
            return
        self._server.leave_while_starting(lambda: self._leave(LEFT))
        self._stay_drained(slot)
        if not self._server.loads_in_worker():
            master.forget()
            return
        if killed:
            self._failed(slot, self._how_killed(slot, since))
        if slot.failures:
            self._pause(slot)
        self._enter(slot, LOADING)
        failure.keep_reserve()
        self._set_traps()

    def _how_killed(self, slot: Slot, since: float) -> str:
        """Return how the load ended of the worker that had this slot before."""
        crash, slot.crash = slot.crash, 0
        if crash:
            return f"its load crashed: {signal.Signals(crash).name}"
        limit = pace.load_limit(self.options)
        if limit and self._system.monotonic() - since >= limit:
            return f"its load took longer than {limit:g} s and was ended"
        return KILLED

    def _stay_drained(self, slot: Slot) -> None:
        """Take the place of a worker that went because the instance is being emptied: serve
        nothing, hear the stop.
        """
        while self._board.head.draining:
            self._enter(slot, DRAINED)
            self._sleep(LOOK_EVERY)

    def _pause(self, slot: Slot) -> None:
        self._enter(slot, PAUSING)
        self._sleep(slot.next_try - self._system.monotonic())

    def _set_traps(self) -> None:
        """Get there first when the load ends the process: by `sys.exit`, by uWSGI's own `exit(22)`,
        by never ending.
        """
        register = getattr(threading, "_register_atexit", atexit.register)
        register(lambda: self._load_exited(EXITED))
        self._remove_trap = self._server.trap_exit(
            lambda: self._load_exited(self._server.load_problem())
        )
        limit = pace.load_limit(self.options)
        self._timed = limit > 0
        if self._timed:
            frames.end_later(limit, 2)
            # should the dump itself be stuck
            self._server.set_fuse(math.ceil(limit) + FUSE_SECONDS)

    def _load_exited(self, how: str) -> None:
        slot = self._slot()
        if slot.state == LOADING and slot.pid == self._system.getpid():
            slot.crash = failure.crashing()
            if slot.crash and self._server.respawns():
                # Python may have been anywhere: the one that takes its place tells of it
                self._server.leave()
            self._failed_and_leave(slot, failure.last() or how)

    def _disarm(self) -> None:
        self._remove_trap()
        if self._timed:
            self._timed = False
            frames.cancel_end()
            self._server.set_fuse(0)
        failure.release_reserve()

    def let_go(self) -> None:
        """Watch over this process no more: readiness was switched off, by the app's own settings
        perhaps, while it loads.
        """
        if self._server.identity().worker:
            self._disarm()
            self._enter(self._slot(), UNWATCHED)

    # When the load is over

    def loaded(self) -> None:
        """Decide, before the worker accepts anything, whether it may: one without an app never
        returns from here.
        """
        try:
            if self.options.mode != REPORT:
                # uWSGI has just said that it accepts, so a chain reload would go on over a bad
                # deploy
                self._server.set_accepting(False)
            self._decide(self._slot())
        except MemoryError:  # what cannot be told cannot be served either
            self._server.leave()
        except Exception:  # a fault of ours must not hold up a chain reload
            self._server.set_accepting(True)
            raise

    def _decide(self, slot: Slot) -> None:
        problem = self._problem()
        self._disarm()
        if not problem:
            self._serve(slot)
        elif self.options.mode == REPORT:
            events.emit(
                events.LoadFailed(
                    self._server.identity().worker,
                    printable(problem, REASON_LIMIT),
                    1,
                    0.0,
                    REPORTED,
                )
            )
        elif self._server.loads_in_worker():
            self._failed_and_leave(slot, problem)
        elif self._past.served:
            self._await_reload(slot, problem)
        else:  # the master loaded it, or rather did not, and each worker that it forks will be as this one
            # it must have come to its loop, or the signal would be lost or hit Python's own handler
            self._system.sleep(MASTER_STARTS)
            self._end_instance(printable(problem, REASON_LIMIT), tries=1)

    def _await_reload(self, slot: Slot, problem: str) -> NoReturn:
        """Stay, without accepting anything, until the instance is reloaded: by the operator, or,
        after a pause, by worker 1.

        What the master has loaded, or rather not, each worker has: only a reload, which is a new
        master, can mend it.
        """
        # uWSGI's own handlers do not end a hook
        self._server.leave_while_starting(lambda: self._leave(LEFT))
        failures = self._past.failures + 1
        pause = math.inf if self._server.reload_harms() else pace.pause(failures, self.options)
        slot.failures, slot.error = failures, printable(problem, REASON_LIMIT)
        slot.next_try = self._system.monotonic() + pause
        self._enter(slot, PAUSING)
        if self._server.identity().worker == 1:
            when = AT_RELOAD if pause == math.inf else PAUSED
            events.emit(
                events.LoadFailed(
                    1, slot.error, failures, 0.0 if pause == math.inf else pause, when
                )
            )
            self._sleep(pause)
            history.write(History(served=True, failures=failures))
            self._server.reload_instance()
        while True:
            self._sleep(LOOK_EVERY)

    def _problem(self) -> str:
        problem = self._server.load_problem()
        if problem:
            return failure.last() or problem
        # an app whose URLconf cannot be imported answers 500 to everything: Django imports it in
        # the first request
        if self.options.check_urlconf and "django" in sys.modules:
            from ..django import readiness

            wrong = readiness.urlconf_problem()
            if self._server.apps() < 2:
                return wrong
            self._wrong_urls = wrong
        return ""

    def _serve(self, slot: Slot) -> None:
        if slot.failures:
            events.emit(events.WorkerLoaded(self._server.identity().worker, slot.failures))
        slot.failures = 0
        self._remember()
        self._name_missing(slot)
        if self.options.mode != REPORT:
            self._warm_up()
        self._enter(slot, SERVING)
        Monitor(self, self._server, self._board, self._system).start()

    def _remember(self) -> None:
        """Have what comes after a reload of the instance know that it has served: once for each
        reload.
        """
        with self._board.lock():
            first = not self._board.head.served
            self._board.head.served = self._board.head.ever_loaded = 1
            if first:
                history.write(History(served=True))

    def _name_missing(self, slot: Slot) -> None:
        slot.degraded = missing = printable(
            "; ".join(filter(None, (self._server.missing_apps(), self._wrong_urls)))
        )
        if missing:
            error = printable(failure.last() or "the log says why", REASON_LIMIT)
            events.emit(events.AppsMissing(self._server.identity().worker, missing, error))

    def _warm_up(self) -> None:
        """Wait for the readiness checks before anything is accepted, and keep a chain reload
        waiting even longer.
        """
        checks.start()
        if checks.passed():
            self._server.set_accepting(True)
            return  # else the monitor says when it does
        end = self._system.monotonic() + self.options.warm_up
        while not checks.passed() and self._system.monotonic() < end:
            self._system.sleep(WARM_UP_LOOKS)

    def _failed_and_leave(self, slot: Slot, error: str) -> NoReturn:
        # without any memory not even CPython's own loops all come to an end (3.11: the dictionary
        # of a log record)
        self._server.set_fuse(FUSE_SECONDS)
        try:
            self._failed(slot, error)
            self._leave(FAILED)
        finally:  # out of memory, say: it must not serve. The next one finds LOADING, and counts it
            self._server.leave()
