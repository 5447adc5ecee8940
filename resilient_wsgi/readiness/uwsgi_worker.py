"""A worker of uWSGI from its fork until it is known whether it has an app: pause, load, then serve
or exit.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import sys
import threading
from typing import TYPE_CHECKING, Callable, NoReturn

from .. import events
from ..core.system import SYSTEM, System
from ..core.text import REASON_LIMIT, printable
from ..events.lifecycle import AT_RELOAD, DRY_RUN, PAUSED
from ..settings.options import ENFORCE, REPORT, Readiness
from ..shm import instance, scoreboard
from ..shm.rows import OwnRow
from ..shm.scoreboard import Scoreboard
from . import checks
from .last_error import LAST_ERROR, crashing
from .load_policy import GRACE_SECONDS, LoadPolicy, LoadTimer, limit_load_in_master, release_signal
from .monitor import Monitor
from .states import DRAINED, EXITED, FAILED, LOADING, PAUSING, SERVING, UNWATCHED

if TYPE_CHECKING:
    from ..servers.uwsgi.server import UwsgiServer

EXITED_BY_APP = "its load ended the process, as sys.exit() does"
POLL_SECONDS = 1.0
FLUSH_SECONDS = 0.5
MASTER_STARTS_SECONDS = 1.0
WARM_UP_POLL_SECONDS = 0.05


class Worker:
    """What readiness does in each worker. Made in the master; the workers inherit it.

    The successor of a worker whose load failed pauses before its own load, so a chain reload waits
    for it: uWSGI does not take it for one that accepts.
    """

    def __init__(
        self,
        server: UwsgiServer,
        board: Scoreboard,
        options: Readiness,
        system: System = SYSTEM,
    ) -> None:
        self._server = server
        self._supervision = supervision = server.supervision
        self._board = board
        self._system = system
        self.policy = LoadPolicy(
            board, options, respawns=supervision.respawns, clock=system.monotonic
        )
        self._timer = LoadTimer(server)
        self._remove_trap: Callable[[], object] = lambda: None
        self._wrong_urls = ""  # while other apps can be served

    def __repr__(self) -> str:
        return f"<readiness of {self._server.identity()}: {self._row()}>"

    @property
    def options(self) -> Readiness:
        """The settings as they are now."""
        return self.policy.options

    @options.setter
    def options(self, options: Readiness) -> None:
        self.policy.options = options

    # In the master

    def install(self) -> None:
        """Have this run in each worker that is forked from now on."""
        server, options, supervision = self._server, self.options, self._supervision
        LAST_ERROR.watch()
        server.hooks.start.add(self.start)
        server.hooks.loaded.add(self.loaded)
        supervision.fail_exit_when(
            self.instance_failed, need_app=not self._board.header.ever_served
        )
        if options.mode == ENFORCE and server.configuration.loads_in_worker():
            supervision.keep_master_awake()
        elif options.mode == ENFORCE and isinstance(options.startup_timeout, (int, float)):
            limit_load_in_master(options.startup_timeout)

    def uninstall(self) -> None:
        """Leave workers alone, this one too if it is one: readiness was switched off, perhaps by
        the app's own settings while it loads.
        """
        for callback in (self.start, self.loaded):
            self._server.hooks.forget(callback)
        if self._server.identity().worker:
            self._disarm()
            self.policy.enter(self._row(), UNWATCHED)
        LAST_ERROR.unwatch()

    def instance_failed(self) -> bool:
        """Return whether the instance ends because no worker ever had an app.

        Called when the master exits.
        """
        scoreboard.leave()
        instance.end()
        if (
            LAST_ERROR.text
            and not self._board.started()
            and not self._server.configuration.loads_in_worker()
        ):
            # `need-app`: nothing was forked, and uWSGI logs no more than "GAME OVER"
            events.emit(events.InstanceEnded(1, printable(LAST_ERROR.text, REASON_LIMIT)))
        return bool(self._board.header.ending)

    # From the fork to the load

    def start(self) -> None:
        """Note that the worker has started; in lazy-apps, pause if its predecessor failed, and
        watch over the load.
        """
        self._board.mine()  # notes this process in it
        row = self._row()
        killed = self.policy.begin(row)
        if self.options.mode == REPORT:
            return
        self._supervision.exit_while_starting(lambda: self._exit(EXITED))
        self._stay_drained(row)
        if not self._server.configuration.loads_in_worker():
            release_signal()
            return
        if killed:
            self._failed(row, killed)
        self._pause(row)
        self.policy.enter(row, LOADING)
        LAST_ERROR.keep_reserve()
        self._set_traps()

    def _stay_drained(self, row: OwnRow) -> None:
        """Serve nothing in the place of a worker that has exited because the instance is draining,
        until the stop signal comes.
        """
        while self._board.header.draining:
            self.policy.enter(row, DRAINED)
            self._sleep(POLL_SECONDS)

    def _pause(self, row: OwnRow) -> None:
        seconds = self.policy.pause_left(row)
        if row.failures:
            self.policy.enter(row, PAUSING)
            self._sleep(seconds)

    def _set_traps(self) -> None:
        """Get there first when the load ends the process: by `sys.exit`, by uWSGI's own `exit(22)`,
        by never ending.
        """
        register = getattr(threading, "_register_atexit", atexit.register)
        register(lambda: self._load_exited(EXITED_BY_APP))
        self._remove_trap = self._supervision.trap_exit(
            lambda: self._load_exited(self._supervision.load_problem())
        )
        self._timer.start(self.policy.limit())

    def _load_exited(self, how: str) -> None:
        row = self._row()
        if row.state == LOADING and row.pid == self._system.getpid():
            row.crash = crashing()
            if row.crash and self._supervision.respawns():
                # Python may have been anywhere: the successor logs it
                self._server.exit()
            self._failed_and_exit(row, LAST_ERROR.text or how)

    def _disarm(self) -> None:
        self._remove_trap()
        self._timer.cancel()
        LAST_ERROR.release_reserve()

    # When the load is over

    def loaded(self) -> None:
        """Decide, before the worker accepts anything, whether it may: one without an app never
        returns from here.
        """
        try:
            if self.options.mode != REPORT:
                # uWSGI has just set this flag, by which a chain reload would go on over a bad
                # deploy
                self._supervision.set_accepting(False)
            self._decide(self._row())
        except MemoryError:  # a worker that cannot log cannot serve either
            self._server.exit()
        except Exception:  # a mistake of this library must not hold up a chain reload
            self._supervision.set_accepting(True)
            raise

    def _decide(self, row: OwnRow) -> None:
        problem = self._problem()
        self._disarm()
        if not problem:
            self._serve(row)
        elif self.options.mode == REPORT:
            error = printable(problem, REASON_LIMIT)
            events.emit(events.LoadFailed(self._number(), error, 1, 0.0, DRY_RUN))
        elif self._server.configuration.loads_in_worker():
            self._failed_and_exit(row, problem)
        elif self._board.header.ever_served:
            self._await_reload(row, problem)
        else:
            # the master has loaded it, or rather has not, and each worker that it forks will be
            # like this one. It must have reached its loop, or the signal would be lost or meet
            # Python's own handler
            self._system.sleep(MASTER_STARTS_SECONDS)
            self._end_instance(printable(problem, REASON_LIMIT), tries=1)

    def _await_reload(self, row: OwnRow, problem: str) -> NoReturn:
        """Stay, without accepting anything, until the instance is reloaded: by the operator or,
        after a pause, by worker 1.

        What the master could not load no worker has: only a reload, which makes a new master, can
        change that.
        """
        # uWSGI's own handlers do not end a hook
        self._supervision.exit_while_starting(lambda: self._exit(EXITED))
        failures = self._board.header.failed_loads + 1
        waits = bool(self._supervision.reload_harms())
        pause = math.inf if waits else self.policy.pause(failures)
        row.failures, row.error = failures, printable(problem, REASON_LIMIT)
        row.next_try = self._system.monotonic() + pause
        self.policy.enter(row, PAUSING)
        if self._number() == 1:
            when, seconds = (AT_RELOAD, 0.0) if waits else (PAUSED, pause)
            events.emit(events.LoadFailed(1, row.error, failures, seconds, when))
            self._sleep(pause)
            self._board.header.failed_loads = failures
            self._supervision.reload_instance()
        while True:
            self._sleep(POLL_SECONDS)

    def _problem(self) -> str:
        """Return why this worker has no app, "" if it has one."""
        problem = self._supervision.load_problem()
        if problem:
            return LAST_ERROR.text or problem
        # an app whose URLconf cannot be imported answers every request with 500: Django imports it
        # in the first one
        if self.options.check_urlconf:
            wrong = _framework_problem()
            if self._supervision.apps() < 2:
                return wrong
            self._wrong_urls = wrong
        return ""

    def _serve(self, row: OwnRow) -> None:
        self.policy.loaded(row, self._number())
        self._name_missing(row)
        if self.options.mode != REPORT:
            self._warm_up()
        self.policy.enter(row, SERVING)
        Monitor(self.policy, self._server, self._board, self._system).start()

    def _name_missing(self, row: OwnRow) -> None:
        missing = printable(
            "; ".join(filter(None, (self._supervision.missing_apps(), self._wrong_urls)))
        )
        row.degraded = missing
        if missing:
            error = printable(LAST_ERROR.text, REASON_LIMIT)
            events.emit(events.AppsMissing(self._number(), missing, error))

    def _warm_up(self) -> None:
        """Wait for the readiness checks before anything is accepted, and hold up a chain reload
        until they pass.
        """
        checks.start()
        if checks.passed():
            self._supervision.set_accepting(True)
            return  # otherwise the monitor does that
        end = self._system.monotonic() + self.options.warm_up
        while not checks.passed() and self._system.monotonic() < end:
            self._system.sleep(WARM_UP_POLL_SECONDS)

    # When it ends

    def _failed(self, row: OwnRow, error: str) -> None:
        LAST_ERROR.mend_stderr()
        if self.policy.failed(row, self._number(), error):
            self._end_instance(row.error, tries=min(row.failures, self.options.attempts))

    def _failed_and_exit(self, row: OwnRow, error: str) -> NoReturn:
        # without any memory even CPython has loops that never end (3.11: the dictionary of a log
        # record)
        self._server.set_kill_timer(GRACE_SECONDS)
        try:
            self._failed(row, error)
            self._exit(FAILED)
        finally:  # out of memory, say: it must not serve. Its successor finds LOADING and counts it
            self._server.exit()

    def _end_instance(self, error: str, tries: int) -> NoReturn:
        if self.policy.give_up():
            events.emit(events.InstanceEnded(tries, error))
            self._supervision.end_instance()
        self._system.sleep(POLL_SECONDS)  # the master's signal comes, or it does not
        self._exit(FAILED)

    def _sleep(self, seconds: float) -> None:
        """Sleep, and exit when the instance ends.

        A stop signal cuts it short too, but may never come: uWSGI's master sends none to a worker
        that it is just forking, whose pid it has not noted yet.
        """
        end = self._system.monotonic() + seconds
        while True:
            if self._board.header.ending:
                self._exit(EXITED)
            left = end - self._system.monotonic()
            if left <= 0:
                return
            self._system.sleep(min(left, POLL_SECONDS))

    def _exit(self, state: int) -> NoReturn:
        self.policy.enter(self._row(), state)
        with contextlib.suppress(Exception):
            drain = getattr(sys.stderr, "drain", None)
            if drain is not None:  # our own stream: what is still in its buffer would be lost
                drain(FLUSH_SECONDS)
        self._server.exit()

    def _number(self) -> int:
        return self._server.identity().worker

    def _row(self) -> OwnRow:
        return self._board.worker(self._number())


def _framework_problem() -> str:
    problems = checks.framework_problems.items()
    found = (problem() for package, problem in problems if package in sys.modules)
    return next(filter(None, found), "")
