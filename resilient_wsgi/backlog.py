"""The listen queue, told at start with the numbers: what was asked, what holds, what limits it,
what to set.
"""

from __future__ import annotations

import contextlib
from typing import Iterator, Optional, Sequence, Set

from . import servers
from .errors import Unavailable
from .events import BacklogSmall, emit
from .host import sockets
from .servers.base import WORKER, Server
from .settings.options import Backlog


def install(options: Optional[Backlog] = None) -> Sequence[str]:
    """Look at this server's listen queues and emit `BacklogSmall` for each that is too short;
    return each in words.

    In the master, or in the first worker if the app is loaded there only. Raises `Unavailable`
    where no listening socket is known.
    """
    options = options or Backlog()
    server = servers.detect()
    queues = list(_queues(server))
    if not queues:
        msg = f"no listening socket is known here ({server.name})"
        raise Unavailable(msg)
    identity = server.identity()
    if identity.role != WORKER or identity.worker == 1:
        for event in check(queues, server.asked_backlog(), sockets.somaxconn(), options.minimum):
            _told.tell(event)
    return [f"{queue.name}: room for {queue.limit}" for queue in queues]


def uninstall() -> None:
    """Do nothing: it was said."""


class _Told:
    """Emits each event once: in prefork `shared-import` installs in the master, and the app that it
    loads once more.

    A worker is forked with what its master has told.
    """

    def __init__(self) -> None:
        self._events: Set[BacklogSmall] = set()

    def tell(self, event: BacklogSmall) -> None:
        """Emit it, unless an event with the same numbers has been."""
        if event not in self._events:
            self._events.add(event)
            emit(event)


_told = _Told()


def check(
    queues: Sequence[sockets.Listener], asked: Optional[int], allowed: int, minimum: int
) -> Iterator[BacklogSmall]:
    """Return an event for each queue that is shorter than asked, or than `minimum` connections."""
    for queue in queues:
        wanted = max(asked or 0, minimum)
        if queue.limit < wanted:
            yield BacklogSmall(queue.name, asked or queue.limit, queue.limit, allowed, wanted)


def _queues(server: Server) -> Iterator[sockets.Listener]:
    for fd in server.listening():
        with contextlib.suppress(OSError):  # a datagram socket has no queue
            yield sockets.listener(fd)
