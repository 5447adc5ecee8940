"""gunicorn: sync and gthread workers, seen from inside the app.

gunicorn's own hooks can only be set in its configuration file. What the app can know by itself is enough: it is loaded in
the worker (or, with `preload_app`, before a real `os.fork`), its worker is the parent's child, and the interpreter's exit
functions run when it stops.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Optional

from ..system import SYSTEM, System
from .base import WORKER, Boot, Identity
from .plain import PlainServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


LEFT_CODE = 29  # any but 3 and 4, at which the arbiter halts (arbiter.py, reap_workers); the same as under uWSGI


class GunicornServer(PlainServer):
    """gunicorn, sync and gthread."""

    name = "gunicorn"

    def __init__(self, system: System = SYSTEM) -> None:
        super().__init__(system)
        os.register_at_fork(after_in_child=self.started)

    def identity(self) -> Identity:
        """Return who this process is. The number of the worker is not known: gunicorn gives none."""
        return Identity(WORKER, 0, self._system.getpid(), os.getppid())

    def boot(self) -> Optional[Boot]:
        """Return the boot of this worker; None in the arbiter, where `preload_app` loads.

        The worker is found as the owner of its own handler of SIGTERM, which it sets before it loads (workers/base.py).
        """
        worker: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if not (hasattr(worker, "notify") and hasattr(worker, "booted")):
            return None
        return Boot(os.getppid(), worker.age, worker.cfg.workers, LEFT_CODE, worker.notify, lambda: bool(worker.alive))

    def client_fd(self, environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the client's connection."""
        sock = environ.get("gunicorn.socket")
        return None if sock is None else int(sock.fileno())

    def client_may_half_close(self, environ: WSGIEnvironment) -> bool:
        """Return True over TCP: gunicorn speaks HTTP there."""
        sock = environ.get("gunicorn.socket")
        return sock is None or sock.family.name != "AF_UNIX"


def running() -> bool:
    """Return whether this process was started as gunicorn."""
    arbiter = sys.modules.get("gunicorn.arbiter")
    return arbiter is not None and "gunicorn" in os.path.basename(sys.argv[0] or "")
