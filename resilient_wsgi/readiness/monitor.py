"""The thread that looks after a serving worker: says whether it is ready, lets it go when draining,
heals its peers.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from .. import events
from ..core.guard import Guard
from ..core.system import SYSTEM, System
from ..servers import Server
from ..settings.options import ENFORCE, Readiness
from . import status
from .board import LOADING, NOTHING, SERVING, UNWATCHED, Board, Slot

if TYPE_CHECKING:
    from .uwsgi_worker import Worker

EVERY = 1.0
HEAL_INTERVAL = 10.0
_guard = Guard("readiness")


class Monitor:
    """One for each worker, begun when it is ready."""

    def __init__(
        self, worker: Worker, server: Server, board: Board, system: System = SYSTEM
    ) -> None:
        self._worker = worker
        self._server = server
        self._board = board
        self._system = system
        self._reported: set[int] = set()
        self._left = False
        self._accepts = False

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._loop, name="resilient_wsgi readiness", daemon=True).start()

    @property
    def options(self) -> Readiness:
        """The settings as they are now."""
        return self._worker.options

    def _loop(self) -> None:
        pid = self._system.getpid()
        while self._system.getpid() == pid:
            with _guard:
                self.look()
            self._system.sleep(EVERY)

    def look(self) -> None:
        """Look once."""
        slot = self._board.slot(self._server.identity().worker)
        self._publish(slot)
        if self._board.head.draining and not self._left:
            self._drain()
        for number in range(1, self._board.head.slots + 1):
            self._heal(number, self._board.slot(number))

    def _publish(self, slot: Slot) -> None:
        slot.problem = problem = status.problem()
        slot.looked = self._system.monotonic()
        slot.ready = not problem
        self._let_chain_go_on(slot)

    def _let_chain_go_on(self, slot: Slot) -> None:
        """Count as accepting once this worker is ready, or no other is: then a chain reload has
        nothing more to lose.

        At its start uWSGI passes over workers that do not accept, and they would keep the old code
        (core/master_checks.c).
        """
        if not self._accepts and (
            slot.ready or not any(other.ready and other.alive() for other in self._board.slots())
        ):
            self._accepts = True
            self._server.set_accepting(True)

    def _drain(self) -> None:
        waited = self._system.monotonic() - self._board.head.draining
        if waited >= self.options.drain_delay and (
            status.queue_depth() == 0 or waited >= self.options.drain_timeout
        ):
            self._left = True
            events.emit(
                events.WorkerLeft(self._server.identity().worker, self._system.getpid(), "draining")
            )
            self._server.recycle(self._system.getpid())

    def _heal(self, number: int, peer: Slot) -> None:
        """Report a peer that is stuck without an app, once, and recycle it if that is wanted and
        nobody did just now.
        """
        problem = self._stuck(number, peer)
        if not problem or peer.pid in self._reported:
            return
        heals = self.options.heal_peers and self.options.mode == ENFORCE
        with self._board.lock():
            now = self._system.monotonic()
            if heals and now - self._board.head.healed < HEAL_INTERVAL:
                return
            if peer.reported == peer.pid:  # by another worker
                self._reported.add(peer.pid)
                return
            peer.reported = peer.pid
            if heals:
                self._board.head.healed = now
        self._reported.add(peer.pid)
        events.emit(
            events.PeerStuck(
                number,
                peer.pid,
                problem,
                "recycled" if heals else "HEAL_PEERS is off, nothing is done",
            )
        )
        if heals:
            self._server.recycle(peer.pid, kill=peer.state == LOADING)

    def _stuck(self, number: int, peer: Slot) -> str:
        if not peer.pid or peer.pid == os.getpid():
            return ""
        for_seconds = self._system.monotonic() - peer.since
        if for_seconds < self.options.peer_stuck_after:
            return ""
        if peer.state == LOADING:
            return f"loads its app for {for_seconds:.0f} s"
        if (
            peer.state in (NOTHING, SERVING, UNWATCHED)
            and self._server.peer_has_app(number) is False
        ):
            return f"serves without an app for {for_seconds:.0f} s"
        return ""
