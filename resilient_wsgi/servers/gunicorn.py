"""gunicorn: sync and gthread workers, seen from inside the app.

gunicorn's own hooks can only be set in its configuration file. What the app can know by itself is enough: it is loaded in
the worker (or, with `preload_app`, before a real `os.fork`), its worker is the parent's child, and the interpreter's exit
functions run when it stops.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Optional, Tuple

from ..system import SYSTEM, System
from . import listen_queue
from .base import MASTER, PROCESS, WORKER, Boot, Identity
from .plain import PlainServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


_PACKAGE = os.path.dirname(getattr(sys.modules.get("gunicorn"), "__file__", None) or "/nowhere/") + os.sep
# socket.socket's property of this name makes an enum of it, which takes a microsecond; here it is the number alone
_family = socket.socket.__base__.family.__get__  # type: ignore[union-attr]
LEFT_CODE = 29  # any but 3 and 4, at which the arbiter halts (arbiter.py, reap_workers); the same as under uWSGI


class GunicornServer(PlainServer):
    """gunicorn, sync and gthread."""

    name = "gunicorn"

    def __init__(self, system: System = SYSTEM) -> None:
        # the arbiter itself imports the app with preload_app, and must not be taken for a worker
        self._arbiter = 0 if _inside_worker() else system.getpid()
        self._first_worker = 0 if self._arbiter else system.getpid()
        super().__init__(system)
        self._listening: Tuple[int, ...] = ()
        self._listening_of = 0
        self._http_over_tcp: Optional[bool] = None  # whether that is all that this worker listens to
        os.register_at_fork(after_in_child=self.started)

    def started(self) -> None:
        """Note that this worker has started; the arbiter, and what a worker forks, is none."""
        if self.identity().role == WORKER:
            super().started()

    def identity(self) -> Identity:
        """Return who this process is. The number of the worker is not known: gunicorn gives none."""
        pid, parent = self._system.getpid(), os.getppid()
        if pid == self._arbiter:
            return Identity(MASTER, 0, pid, pid)
        if pid == self._first_worker or parent == self._arbiter:
            return Identity(WORKER, 0, pid, parent)
        return Identity(PROCESS, 0, pid, parent)

    def owns(self, path: str) -> bool:
        """Return whether a file is gunicorn's."""
        return path.startswith(_PACKAGE)

    def boot(self) -> Optional[Boot]:
        """Return the boot of this worker; None in the arbiter, where `preload_app` loads.

        The worker is found as the owner of its own handler of SIGTERM, which it sets before it loads (workers/base.py).
        """
        worker: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if not (hasattr(worker, "notify") and hasattr(worker, "booted")):
            return None
        return Boot(os.getppid(), worker.age, worker.cfg.workers, LEFT_CODE, worker.notify, lambda: bool(worker.alive))

    def drain(self) -> bool:
        """Do what the arbiter does to stop a worker: it closes its listeners and waits for what runs (`graceful_timeout`)."""
        os.kill(self._system.getpid(), signal.SIGTERM)
        return True

    def leave(self) -> NoReturn:
        """End this worker at once; the arbiter starts another one. (3 and 4 would end the instance: gunicorn/arbiter.py)."""
        self._system.exit(0)
        raise AssertionError  # a test's System may return

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors, which gunicorn tells nobody: found among those of this process."""
        pid = self._system.getpid()
        if self._listening_of != pid:
            self._listening, self._listening_of = listen_queue.listening_descriptors(), pid
        return self._listening

    def client_fd(self, environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the client's connection."""
        sock = environ.get("gunicorn.socket")
        return None if sock is None else int(sock.fileno())

    def all_clients_may_half_close(self) -> bool:
        """Return True in a worker that listens to TCP alone."""
        if self._http_over_tcp is None and self.identity().role == WORKER:
            families = listen_queue.families(self.listening())
            self._http_over_tcp = bool(families) and socket.AF_UNIX not in families
        return self._http_over_tcp or False

    def client_may_half_close(self, environ: WSGIEnvironment) -> bool:
        """Return True over TCP: gunicorn speaks HTTP there."""
        if self.all_clients_may_half_close():
            return True
        sock = environ.get("gunicorn.socket")
        if sock is None:
            return True
        try:
            family = _family(sock)
        except TypeError:  # gevent's, eventlet's
            family = sock.family
        return bool(family != socket.AF_UNIX)


def _inside_worker() -> bool:
    frame: Optional[FrameType] = sys._getframe()  # noqa: SLF001 - who imports us is all there is to know it by
    while frame is not None:
        if frame.f_code.co_filename.startswith(os.path.join(_PACKAGE, "workers")):
            return True
        frame = frame.f_back
    return False


def running() -> bool:
    """Return whether this process was started as gunicorn."""
    arbiter = sys.modules.get("gunicorn.arbiter")
    return arbiter is not None and "gunicorn" in os.path.basename(sys.argv[0] or "")
