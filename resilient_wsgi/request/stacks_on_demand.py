"""What a worker has so that its stacks can be seen from outside: a thread that answers, and a
signal for when none can.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Optional

from ..core.guard import Guard
from ..core.system import SYSTEM, System
from ..errors import Unavailable
from ..host import procfs
from ..servers import Server
from ..servers.base import WORKER
from ..settings.options import Request
from ..shm import instance
from ..shm.directory import Directory
from . import stack_dumps
from .running import Running, running
from .stack_dumps import OnSignal
from .stacks_socket import StacksSocket
from .wakeup import end_as_known

if TYPE_CHECKING:
    from .waiting import Waiting

_guard = Guard("request")


class StacksOnDemand:
    """The socket and the signal of this process, as far as they can be had; `no_socket` and
    `no_signal` say why not.
    """

    def __init__(
        self,
        options: Request,
        server: Server,
        waiting: Optional[Waiting] = None,
        table: Running = running,
        system: System = SYSTEM,
    ) -> None:
        self.no_socket = ""
        self.no_signal = ""
        self.socket: Optional[StacksSocket] = None
        self._signal: Optional[OnSignal] = None
        self._waiting = waiting
        self._table = table
        self._system = system
        try:
            directory = instance.directory()
            _sweep(directory)
            self.socket = StacksSocket(directory, self.text)
        except (OSError, Unavailable) as reason:
            self.no_socket = self.no_signal = str(reason)
            return
        try:
            if options.stacks_signal is not None and usable(options.stacks_signal, server):
                self._signal = OnSignal(stack_dumps.number(options.stacks_signal), directory)
        except (OSError, Unavailable) as reason:
            self.no_signal = str(reason)

    def __repr__(self) -> str:
        return f"<StacksOnDemand {self.socket or self.no_socket} {self._signal or self.no_signal}>"

    def start_thread(self) -> None:
        """Have a thread of its own answer, where there is no other that could."""
        if self.socket is not None:
            threading.Thread(
                target=_serve, args=(self.socket,), name="resilient_wsgi stacks", daemon=True
            ).start()

    def text(self) -> str:
        """Return what is sent: the requests that run, and the stacks of all threads but the one
        that answers.
        """
        if self._signal is not None:
            self._signal.trim()
        requests, now = self._table.requests(), self._system.monotonic()
        if self._waiting is not None:
            for thread, request in requests:
                self._waiting.note(thread, request, now)
        return stack_dumps.report(requests, now, without=threading.get_ident())

    def close(self) -> None:
        """Take it all away, and let go of the directory, which is closed with the last reference to
        it.
        """
        for each in (self.socket, self._signal):
            if each is not None:
                each.close()
        self.socket = self._signal = None


def _serve(socket: StacksSocket) -> None:
    socket.serve()
    end_as_known()


def in_worker(server: Server) -> bool:
    """Return whether this process is a worker: a script or a test that calls a wrapped app gets no
    socket and no thread.
    """
    return server.identity().role == WORKER


def usable(name: str, server: Server) -> bool:
    """Return whether a signal is free. Raises `Unavailable`, with its use, if it is not."""
    use = server.configuration.uses_signal(stack_dumps.number(name))
    if use:
        msg = f"{name} is not free: the server has it for {use}"
        raise Unavailable(msg)
    return True


def _sweep(directory: Directory) -> None:
    """Remove what workers have left that were killed."""
    for name in directory.names():
        pid = stack_dumps.pid_of(name)
        if pid is not None and procfs.stat(pid) is None:
            with contextlib.suppress(OSError):
                directory.unlink(name)
