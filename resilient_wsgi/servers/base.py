"""What the library asks of the server that it runs in, and the answers of a process that is no server's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Optional, Tuple

from ..system import SYSTEM, System
from .hooks import Callback, Phase

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MASTER, WORKER, MULE, SPOOLER, PROCESS = "master", "worker", "mule", "spooler", "process"


@dataclass(frozen=True)
class Identity:
    """Who this process is: its role, its number among the workers (0: not a worker), its pid and that of its master."""

    role: str
    worker: int
    pid: int
    master_pid: int


class Server:
    """A process without a server: base and fallback of the others.

    The callbacks run once in each process; one that is added late, after its point has been reached, runs at once.
    """

    name = "plain"

    def __init__(self, system: System = SYSTEM) -> None:
        self._system = system
        self._start = Phase("start", system=system)
        self._ready = Phase("ready", system=system)
        self._stop = Phase("stop", latest_first=True, system=system)

    def identity(self) -> Identity:
        """Return who this process is."""
        return Identity(PROCESS, 0, self._system.getpid(), 0)

    def on_worker_start(self, callback: Callback) -> None:
        """Run `callback` in each worker after the fork, before requests."""
        self._start.add(callback)

    def on_worker_ready(self, callback: Callback) -> None:
        """Run `callback` in each worker when its app is loaded, before it takes requests where the server lets us."""
        self._ready.add(callback)

    def on_worker_stop(self, callback: Callback) -> None:
        """Run `callback` when the worker ends in an orderly way, the latest added first; not at SIGKILL, harakiri, OOM."""
        self._stop.add(callback)

    def forget(self, callback: Callback) -> None:
        """Take a callback away again from wherever it was added."""
        for phase in (self._start, self._ready, self._stop):
            phase.remove(callback)

    def started(self) -> None:
        """Note that this worker has started. Called by the server's own hooks; calling it again does nothing."""
        self._start.reach()

    def ready(self) -> None:
        """Note that this worker has its app. Cheap once it has been called in a process: middleware calls it too."""
        if not self._ready.reached:
            self._start.reach()
            self._ready.reach()

    def stopping(self) -> None:
        """Run what is to be run when the worker ends."""
        self._stop.reach()

    def harakiri(self) -> Optional[float]:
        """Return the seconds after which the server kills a worker for one request, None where it does not."""
        return None

    def threads(self) -> int:
        """Return how many requests one worker works on at a time."""
        return 1

    def loaded(self) -> Optional[bool]:
        """Return whether this worker has an app, None where that cannot be known."""
        return None

    def asked_backlog(self) -> Optional[int]:
        """Return the length of listen queue that the configuration asks for, None where it is not known."""
        return None

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors of this server."""
        return ()

    def client_fd(self, environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the connection that a request came on, None where it is not known."""
        del environ
        return None

    def client_may_half_close(self, environ: WSGIEnvironment) -> bool:
        """Return whether a client that has ended its side may still wait for the answer (raw HTTP over TCP)."""
        del environ
        return True

    def set_fuse(self, seconds: int) -> bool:
        """Have this worker killed from outside unless it is gone within `seconds`; return whether that can be had."""
        del seconds
        return False

    def drain(self) -> bool:
        """Have this worker take no more requests and end when those that run are done; return whether that can be had.

        Only where the server replaces a worker that ends. A request that never ends holds it up: `leave` does not wait.
        """
        return False

    def uses_signal(self, number: int) -> str:
        """Return what the server is configured to use a signal for, `""` for nothing."""
        del number
        return ""

    def leave(self) -> NoReturn:
        """End this process at once, so that the master starts a fresh one; runs no exit handlers."""
        self._system.exit(1)
        raise AssertionError  # a test's System may return

    def end_instance(self) -> None:
        """Ask for the end of the whole server with a code that its supervisor sees as a failure."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identity()}>"
