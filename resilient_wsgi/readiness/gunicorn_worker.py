"""A worker of gunicorn that loads its app with `load()`.

gunicorn halts the whole server when one worker fails to boot. Here the failure is kept from it: the
worker exits with another code, for which the arbiter starts a successor, and that pauses before its
own load while it notifies the arbiter. Only if no worker ever loads, the exception is raised and
gunicorn halts as usual. What `preload_app` loads in the arbiter is not touched: nothing could
restart it.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

from .. import servers
from ..core.system import SYSTEM, System
from ..core.text import one_line
from ..errors import Unavailable
from ..servers.gunicorn import Boot
from ..settings.options import OFF, REPORT, Readiness
from ..shm.layout import WorkerRow
from ..shm.rows import OwnRow
from ..shm.scoreboard import Scoreboard
from .load_policy import LoadPolicy, LoadTimer, load_limit
from .states import FAILED, LOADING, PAUSING, SERVING

NOTIFY_SECONDS = 0.5


def load(find: Callable[[], Any], boot: Boot, options: Readiness, system: System = SYSTEM) -> Any:
    """Return what `find` returns. If it fails, end this worker, or raise if that is hopeless.

    Without a row in the scoreboard there is no telling what is hopeless: gunicorn halts at the
    first failure, as it would without the library.
    """
    if options.mode in (OFF, REPORT):
        return find()
    timer = LoadTimer(servers.detect())
    try:
        board = Scoreboard.of_this_instance()
        row = board.mine(_rank)
    except (OSError, Unavailable):
        row = None
    if row is None:
        return _find(find, timer, load_limit(options))
    policy = LoadPolicy(board, options, workers=boot.workers, clock=system.monotonic)
    return GunicornWorker(boot, policy, row, timer, system).load(find)


class GunicornWorker:
    """What `load()` does in a worker that has a row in the scoreboard."""

    def __init__(
        self, boot: Boot, policy: LoadPolicy, row: OwnRow, timer: LoadTimer, system: System = SYSTEM
    ) -> None:
        self._boot = boot
        self._policy = policy
        self._row = row
        self._number = row.index + 1
        self._timer = timer
        self._system = system

    def __repr__(self) -> str:
        return f"<GunicornWorker {self._number}: {self._row}>"

    def load(self, find: Callable[[], Any]) -> Any:
        """Return the app, or end this worker, or raise what `find` raises."""
        killed = self._policy.begin(self._row)
        if killed:
            self._failed(RuntimeError(killed), killed)
        self._pause()
        self._policy.enter(self._row, LOADING)
        try:
            app = _find(find, self._timer, self._policy.limit())
        except (Exception, SystemExit) as error:
            self._policy.enter(self._row, FAILED)
            if self._boot.shows_syntax_errors and isinstance(error, SyntaxError):
                raise
            self._failed(error, one_line(f"{type(error).__name__}: {error}"))
            self._system.exit(self._boot.exit_code)
        self._policy.loaded(self._row, self._number)
        self._policy.enter(self._row, SERVING)
        return app

    def _failed(self, error: BaseException, text: str) -> None:
        trace = error.__traceback__
        hopeless = self._policy.hopeless(self._row, self._row.failures + 1)
        if trace is not None and not hopeless:  # gunicorn prints what is raised
            sys.excepthook(type(error), error, trace)
        # one worker alone raises: a second one that fails to boot while gunicorn halts makes the
        # arbiter end with another code (arbiter.py, reap_workers in stop)
        if self._policy.failed(self._row, self._number, text) and self._policy.give_up():
            self._policy.enter(self._row, FAILED)
            raise error

    def _pause(self) -> None:
        if not self._row.failures:
            return
        self._policy.enter(self._row, PAUSING)
        while self._policy.pause_left(self._row) > 0:
            if not self._boot.wanted():
                self._system.exit(self._boot.exit_code)
            self._boot.notify()
            self._system.sleep(NOTIFY_SECONDS)


def _find(find: Callable[[], Any], timer: LoadTimer, limit: float) -> Any:
    timer.start(limit)  # gunicorn's own `timeout` begins with the first notify(), after the load
    try:
        return find()
    finally:
        timer.cancel()


def _rank(row: WorkerRow) -> int:
    """Return how much the successor of a dead worker should be the next one: what it has to report,
    and how long it has to pause, stand in the row that it takes.
    """
    return 1 << 32 if row.state == LOADING else row.failures
