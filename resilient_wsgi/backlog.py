"""The listen queue, reported at startup with the numbers: what was asked, what holds, what limits
it, what to set.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Iterator, Optional, Sequence, Set

from .component import Component, Context
from .errors import Unavailable
from .servers.base import WORKER, Server
from .settings import options as settings

if TYPE_CHECKING:
    from .events import BacklogSmall
    from .host import sockets


class Backlog(Component[settings.Backlog]):
    """Reports each listen queue that is too short, once, with the numbers and what to set."""

    name = "backlog"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # in prefork `shared-import` installs in the master, and the app that it loads once more; a
        # worker is forked with what its master has reported
        self._reported: Set[BacklogSmall] = set()

    def install(self, options: settings.Backlog) -> Sequence[str]:
        """Emit `BacklogSmall` for each listen queue of this server that is too short; return all of
        them, with their size.

        In the master, or in the first worker if the app is loaded there only. Raises `Unavailable`
        where no listening socket is known.
        """
        server = self.context.server
        queues = list(_queues(server))
        if not queues:
            msg = f"no listening socket is known here ({server.name})"
            raise Unavailable(msg)
        identity = server.identity()
        if identity.role != WORKER or identity.worker == 1:
            from .host import sockets

            allowed = sockets.somaxconn()
            for event in check(
                queues, server.configuration.asked_backlog(), allowed, options.minimum
            ):
                self._report(event)
        return [f"{queue.name}: room for {queue.limit}" for queue in queues]

    def _report(self, event: BacklogSmall) -> None:
        if event not in self._reported:
            from .events import emit

            self._reported.add(event)
            emit(event)


def check(
    queues: Sequence[sockets.Listener], asked: Optional[int], allowed: int, minimum: int
) -> Iterator[BacklogSmall]:
    """Return an event for each queue that is shorter than asked, or than `minimum` connections."""
    from .events import BacklogSmall

    for queue in queues:
        wanted = max(asked or 0, minimum)
        if queue.limit < wanted:
            yield BacklogSmall(queue.name, asked or queue.limit, queue.limit, allowed, wanted)


def _queues(server: Server) -> Iterator[sockets.Listener]:
    for fd in server.connections.listening():
        from .host import sockets

        with contextlib.suppress(OSError):  # a datagram socket has no queue
            yield sockets.listener(fd)
