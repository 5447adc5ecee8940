"""The thread that watches over a serving worker: it publishes whether the worker is ready, lets it
exit when the instance drains, and reports or recycles stuck peers.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Optional, Set

from .. import events
from ..core.guard import Guard
from ..core.system import SYSTEM, System
from ..events.lifecycle import StuckBy
from ..settings.options import ENFORCE
from ..shm.rows import OwnRow
from ..shm.scoreboard import Scoreboard
from . import checks
from .load_policy import LoadPolicy
from .states import LOADING, SERVING, STARTED, UNWATCHED

if TYPE_CHECKING:
    from ..servers.uwsgi.server import UwsgiServer

SOON_SECONDS = 1.0
IDLE_SECONDS = 5.0
FRESH_SECONDS = 12.0  # a worker that has not polled for so long may be stuck itself
HEAL_INTERVAL = 10.0
WITHOUT_APP = (STARTED, LOADING, UNWATCHED)  # the states in which a worker may have none
_guard = Guard("readiness")


class Monitor:
    """One for each worker, started when the worker is ready."""

    def __init__(
        self, policy: LoadPolicy, server: UwsgiServer, board: Scoreboard, system: System = SYSTEM
    ) -> None:
        self._policy = policy
        self._supervision = server.supervision
        self._board = board
        self._system = system
        self._number = server.identity().worker
        self._reported: Set[int] = set()
        self._draining = False
        self._accepts = False

    def __repr__(self) -> str:
        return f"<Monitor of worker {self._number}>"

    def start(self) -> None:
        """Start it, in a thread of its own."""
        threading.Thread(target=self._loop, name="resilient_wsgi readiness", daemon=True).start()

    def poll(self) -> None:
        """Publish what this worker knows of itself; act on what the scoreboard says."""
        self._publish(self._board.worker(self._number))
        if self._board.header.draining and not self._draining:
            self._drain()
        if self._leads():
            for number, peer in enumerate(self._board.workers, 1):
                if peer.state in WITHOUT_APP and peer.pid not in (0, self._system.getpid()):
                    self._watch(number, peer)

    def _loop(self) -> None:
        pid, changed = self._system.getpid(), checks.changed.get()
        while self._system.getpid() == pid:
            with _guard:
                self.poll()
            changed.wait(self._pause())

    def _pause(self) -> float:
        """Return for how long it need not poll.

        To wake up costs a thread 30 to 50 microseconds before it has done anything: too much, once
        a second, in each worker of a large, idle instance.
        """
        options = self._policy.options
        waits = not self._accepts or checks.running() or self._board.header.draining
        if waits or options.queue_limit:
            return SOON_SECONDS
        return max(SOON_SECONDS, min(IDLE_SECONDS, options.drain_delay, options.peer_stuck_after))

    def _publish(self, row: OwnRow) -> None:
        problem = checks.status.problem()
        if row.problem != problem:
            row.problem = problem
        row.checked_at = self._system.monotonic()
        row.ready = not problem
        if not self._accepts:
            self._let_chain_go_on(row)

    def _let_chain_go_on(self, row: OwnRow) -> None:
        """Count as accepting once this worker is ready, or no other is: then a chain reload has
        nothing more to lose.

        When it starts, uWSGI skips workers that do not accept, and they would keep the old code
        (core/master_checks.c).
        """
        if row.ready or not any(other.ready and other.alive() for other in self._board.workers):
            self._accepts = True
            self._supervision.set_accepting(True)

    def _drain(self) -> None:
        options = self._policy.options
        waited = self._system.monotonic() - self._board.header.draining
        if waited < options.drain_delay:
            return
        if checks.status.queue_depth() == 0 or waited >= options.drain_timeout:
            self._draining = True
            pid = self._system.getpid()
            events.emit(events.WorkerExited(self._number, pid, "draining"))
            self._supervision.recycle(pid)

    def _leads(self) -> bool:
        """Return whether this worker watches over the others: the first one that serves does, so
        that what that costs grows with the number of workers, not with its square.
        """
        fresh = self._system.monotonic() - FRESH_SECONDS
        for number in range(1, self._number):
            row = self._board.worker(number)
            if row.state == SERVING and row.checked_at > fresh:
                return False
        return True

    def _watch(self, number: int, peer: OwnRow) -> None:
        """Report a peer that is stuck without an app, once; recycle it if HEAL_PEERS is on and no
        other was recycled just now.
        """
        problem = self._stuck(number, peer)
        if problem is None or peer.pid in self._reported:
            return
        options = self._policy.options
        heals = options.heal_peers and options.mode == ENFORCE
        with self._board.lock():
            now = self._system.monotonic()
            if heals and now - self._board.header.healed_at < HEAL_INTERVAL:
                return
            self._reported.add(peer.pid)
            if peer.reported_pid == peer.pid:  # by another worker
                return
            peer.reported_pid = peer.pid
            if heals:
                self._board.header.healed_at = now
        events.emit(
            events.PeerStuck(
                number, peer.pid, problem, self._system.monotonic() - peer.since, heals
            )
        )
        if heals:
            self._supervision.recycle(peer.pid, kill=peer.state == LOADING)

    def _stuck(self, number: int, peer: OwnRow) -> Optional[StuckBy]:
        if self._system.monotonic() - peer.since < self._policy.options.peer_stuck_after:
            return None
        if peer.state == LOADING:
            return "loading"
        return "no_app" if self._supervision.peer_has_app(number) is False else None
