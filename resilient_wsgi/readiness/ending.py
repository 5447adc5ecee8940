"""How a worker ends that could not load its app, and when the whole instance does."""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn, Optional

from .. import events
from ..core.system import SYSTEM, System
from ..core.text import REASON_LIMIT, printable
from ..events.workers import LAST, PAUSED, WAITS
from ..servers import Server
from ..settings.options import Readiness
from . import history, last_error as failure, pace
from .board import FAILED, LEFT, PAUSING, Board, Slot
from .history import History

LOOK_EVERY = 1.0
FLUSH_SECONDS = 0.5


class Ending:
    """What a worker does that may have to end: the part of `Worker` that counts failures, tells of
    them, and leaves.
    """

    def __init__(
        self,
        server: Server,
        board: Board,
        options: Readiness,
        system: System = SYSTEM,
        past: Optional[History] = None,
    ) -> None:
        self.options = options
        self._past = past = past or History()
        board.head.ever_loaded = past.served
        self._server = server
        self._board = board
        self._system = system

    def _slot(self) -> Slot:
        return self._board.slot(self._server.identity().worker)

    def _failed(self, slot: Slot, error: str) -> None:
        failures, error = slot.failures + 1, printable(error, REASON_LIMIT)
        seconds = pace.pause(failures, self.options)
        when = self._next_try(slot, failures)
        failure.mend_stderr()
        # before it is counted: should this process be killed just now, as one that crashes may be,
        # the next one says and counts it
        events.emit(
            events.LoadFailed(self._server.identity().worker, error, failures, seconds, when)
        )
        with self._board.lock():
            slot.failures = failures
            slot.error = error
            slot.next_try = self._system.monotonic() + seconds
            hopeless = self._hopeless(slot, failures)
            if failures == 1 and not self._board.head.ever_loaded:
                history.write(History())  # should the instance be reloaded now: it has not served
        self._enter(slot, PAUSING)
        if hopeless:
            self._end_instance(error, tries=min(failures, self.options.attempts))

    def _next_try(self, slot: Slot, failures: int) -> str:
        if self._hopeless(slot, failures):
            return LAST
        return PAUSED if self._board.head.ever_loaded or failures < self.options.attempts else WAITS

    def _hopeless(self, slot: Slot, failures: int) -> bool:
        """Return whether no worker ever had an app, and each has tried often enough; this one has
        failed so often.
        """
        if not self._server.respawns():
            return True
        others = (each for each in self._board.started() if each.pid != slot.pid)
        return not self._board.head.ever_loaded and all(
            tries >= self.options.attempts
            for tries in (failures, *(each.failures for each in others))
        )

    def _end_instance(self, error: str, tries: int) -> NoReturn:
        with self._board.lock():
            first, self._board.head.ending = not self._board.head.ending, 1
        if first:
            events.emit(events.InstanceEnded(tries, error))
            self._server.end_instance()
        self._system.sleep(LOOK_EVERY)  # the master's signal comes, or it does not
        self._leave(FAILED)

    def _sleep(self, seconds: float) -> None:
        """Sleep, and leave when the instance ends.

        A stop signal cuts it short too, but may never come.

        uWSGI's master sends none to a worker that it is just forking, whose pid it has not noted
        yet.
        """
        end = self._system.monotonic() + seconds
        while True:
            if self._board.head.ending:
                self._leave(LEFT)
            left = end - self._system.monotonic()
            if left <= 0:
                return
            self._system.sleep(min(left, LOOK_EVERY))

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
        """Return whether the instance was ended because no worker ever had an app.

        Called when the master exits.
        """
        history.forget()
        if failure.last() and not self._board.started() and not self._server.loads_in_worker():
            # `need-app`: nothing was forked, and uWSGI says no more than "GAME OVER"
            events.emit(events.InstanceEnded(1, printable(failure.last(), REASON_LIMIT)))
        return bool(self._board.head.ending)
