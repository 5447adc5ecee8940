"""A worker with a request that nothing ends: it takes no more requests, lets the others finish, and
is replaced.

At most so many in a minute of the whole instance: without that, an incident that hits all workers
would become a storm of respawns, in which no worker is left to serve.
"""

from __future__ import annotations

import math
from typing import Callable, List, Optional, Tuple

from ..core.environ import method_and_path
from ..events import Event, WorkerRecycled
from ..events.traffic import Outcome
from ..servers import Server
from ..settings.options import REPORT, Request
from ..shm.scoreboard import Scoreboard
from .running import RequestDeadline

# the worker ends when it was seen twice with nothing to do: a request may be between the server and
# us
IDLE_SCANS = 2


class Recycling:
    """What one process does about its end. `under_way` once it has been begun."""

    def __init__(
        self,
        options: Request,
        server: Server,
        board: Scoreboard,
        announce: Callable[[Event], object],
        before_leaving: Callable[[], object],
    ) -> None:
        self._options = options
        self._server = server
        self._board = board
        self._announce = announce
        self._before_leaving = before_leaving
        self._said_of: Optional[RequestDeadline] = None
        self._until = math.inf
        self._idle = 0
        self.under_way = False

    def begin(self, request: RequestDeadline, now: float, limit: float) -> None:
        """Begin for a request that runs past a limit and its grace, if the instance may have
        another worker replaced.
        """
        if self.under_way:
            return
        if self._options.mode == REPORT:
            self._say(request, now, limit, "dry_run")
        elif not self._board.recycle(self._options.recycles_per_minute, now):
            self._say(request, now, limit, "rate_limited")
        elif self._server.drain():
            self.under_way = True
            self._until = now + self._options.recycle_drain
            self._say(request, now, limit, "recycled")

    def go_on(self, now: float, requests: List[Tuple[int, RequestDeadline]]) -> None:
        """End the process when all others are done, or their time is up."""
        if not self.under_way:
            return
        others = [
            request for _, request in requests if now < request.due + self._options.overdue_grace
        ]
        self._idle = 0 if others else self._idle + 1
        if self._idle >= IDLE_SCANS or now >= self._until:
            self._before_leaving()
            self._server.exit()

    def _say(self, request: RequestDeadline, now: float, limit: float, outcome: Outcome) -> None:
        if self._said_of is request:
            return
        self._said_of = request
        identity = self._server.identity()
        method, path = method_and_path(request.environ)
        elapsed = now - request.start
        self._announce(
            WorkerRecycled(
                identity.worker,
                identity.pid,
                method,
                path,
                elapsed,
                outcome,
                limit,
                self._options.overdue_grace,
            )
        )
