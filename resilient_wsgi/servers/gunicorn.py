"""gunicorn: sync and gthread workers, seen from inside the app.

gunicorn's own hooks can only be set in its configuration file. What the app can know by itself is
enough: it is loaded in the worker (or, with `preload_app`, before a real `os.fork`), its worker is
the parent's child, and the interpreter's exit functions run when it stops.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from types import CodeType
from typing import TYPE_CHECKING, Any, FrozenSet, NoReturn, Optional, Tuple

from ..core.system import SYSTEM, System
from ..host import procfs, sockets
from . import callers
from .base import MASTER, PROCESS, WORKER, Boot, Identity
from .hooks import Callback
from .plain import PlainServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


PACKAGE = "gunicorn"
SYNC = "gunicorn.workers.sync"
# of the functions of gunicorn that call code of the app, those that do it for other reasons than a
# request
LOADING = frozenset(
    {
        "load",
        "load_wsgi",
        "load_wsgiapp",
        "import_app",
        "wsgi",
        "setup",
        "start",
        "spawn_worker",
        "init_process",
    }
)
# socket.socket's property of this name makes an enum of it, which takes a microsecond; here it is
# the number alone
_family = socket.socket.__base__.family.__get__  # type: ignore[union-attr]
# any but 3 and 4, at which the arbiter halts (arbiter.py, reap_workers); the same as under uWSGI
LEFT_CODE = 29


class GunicornServer(PlainServer):
    """gunicorn, sync and gthread."""

    name = "gunicorn"

    def __init__(
        self, system: System = SYSTEM, *, predecessor: Optional[PlainServer] = None
    ) -> None:
        self._folder = callers.folder(PACKAGE) or "/nowhere/"
        # the arbiter itself imports the app with preload_app, and must not be taken for a worker
        self._arbiter = 0 if _inside_worker(self._folder) else system.getpid()
        # found out in the child of the fork, in which nothing else has run yet
        if predecessor is not None:
            self._arbiter = os.getppid()
        self._first_worker = 0 if self._arbiter else system.getpid()
        self._heartbeat: Tuple[int, int] = (
            0,
            -1,
        )  # the process, and its own descriptor of what it notifies the arbiter by
        self._inodes: Tuple[int, FrozenSet[int]] = (0, frozenset())
        super().__init__(system, predecessor=predecessor)
        self._listening: Tuple[int, ...] = ()
        self._listening_of = 0
        # whether that is all that this worker listens to
        self._http_over_tcp: Optional[bool] = None
        os.register_at_fork(after_in_child=self.started)

    def started(self) -> None:
        """Note that this worker has started; the arbiter, and what a worker forks, is none."""
        if self.identity().role == WORKER:
            super().started()
            _after_load(self.ready)

    def first_worker(self) -> bool:
        """Return whether this is the first worker that the arbiter has started."""
        worker = _worker()
        return worker is None or worker.age == 1

    def identity(self) -> Identity:
        """Return who this process is.

        The number of the worker is not known: gunicorn gives none.
        """
        pid, parent = self._system.getpid(), os.getppid()
        if pid == self._arbiter:
            return Identity(MASTER, 0, pid, pid)
        if pid == self._first_worker or parent == self._arbiter:
            return Identity(WORKER, 0, pid, parent)
        return Identity(PROCESS, 0, pid, parent)

    def forked_by_app(self) -> bool:
        """Return whether this process is neither the arbiter nor one of its workers."""
        return self.identity().role == PROCESS

    def owns(self, path: str) -> bool:
        """Return whether a file is gunicorn's."""
        return path.startswith(self._folder)

    def boot(self) -> Optional[Boot]:
        """Return the boot of this worker; None in the arbiter, where `preload_app` loads.

        The worker is found as the owner of its own handler of SIGTERM, which it sets before it
        loads (workers/base.py).
        """
        worker = _worker()
        if worker is None:
            return None
        return Boot(
            os.getppid(),
            worker.age,
            worker.cfg.workers,
            LEFT_CODE,
            worker.notify,
            lambda: bool(worker.alive),
            bool(worker.cfg.reload),  # workers/base.py, load_wsgi
        )

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return, for gunicorn's own functions, whether they are on the way to a request."""
        return code.co_name not in LOADING if self.owns(code.co_filename) else None

    def mercy(self) -> Optional[float]:
        """Return `graceful_timeout` where the arbiter stops, else `timeout`: in its loop it only
        kills who does not notify it.

        With that, this worker notifies the arbiter for the last time. It closes its own descriptor
        when it leaves its loop (arbiter.py, spawn_worker), so only one that has background work,
        and therefore has another, can.
        """
        worker = _worker() if self.identity().role == WORKER else None
        if worker is None:
            return None
        graceful, timeout = float(worker.cfg.graceful_timeout), float(worker.cfg.timeout)
        # it notifies at least twice in that time (workers/sync.py)
        silent = 0.0 if self._notify() else timeout / 2
        stops = self._arbiter_stops()
        if stops:
            return graceful
        if not timeout:
            return None if stops is False else graceful
        return timeout - silent if stops is False else min(graceful, timeout - silent)

    def kills_after(self) -> Optional[float]:
        """Return `timeout` in a sync worker, which notifies the arbiter between requests alone."""
        worker = _worker() if self.identity().role == WORKER else None
        if worker is None or not any(each.__module__ == SYNC for each in type(worker).__mro__):
            return None
        return float(worker.cfg.timeout) or None

    def _arbiter_stops(self) -> Optional[bool]:
        """Return whether the arbiter has closed its sockets, which it does first of all; None where
        that cannot be seen.
        """
        inodes = self._listens_to()
        try:
            open_there = procfs.socket_inodes(os.getppid())
        except OSError:  # its owner is another user, or it is gone
            return None
        return inodes.isdisjoint(open_there) if inodes else None

    def _listens_to(self) -> FrozenSet[int]:
        pid = self._system.getpid()
        if self._inodes[0] != pid:  # gthread closes its sockets before it ends
            with contextlib.suppress(AttributeError, OSError, ValueError):
                found = frozenset(os.fstat(sock.fileno()).st_ino for sock in _worker().sockets)
                self._inodes = (pid, found)
        return self._inodes[1] if self._inodes[0] == pid else frozenset()

    def work_begins(self) -> None:
        """Keep what the end of this worker will need: the file by which the arbiter sees that it
        lives, and what it listens to.
        """
        pid = self._system.getpid()
        if self._heartbeat[0] == pid:
            return
        worker = _worker()
        with contextlib.suppress(AttributeError, OSError, ValueError):
            self._heartbeat = (pid, os.dup(worker.tmp.fileno()))
            self._listens_to()

    def _notify(self) -> bool:
        pid, fd = self._heartbeat
        if pid != self._system.getpid():
            return False
        now = time.monotonic()  # workers/workertmp.py, since gunicorn 21
        try:
            os.utime(fd, (now, now))
        except OSError:
            return False
        return True

    def drain(self) -> bool:
        """Do what the arbiter does to stop a worker: it closes its listeners and waits for what
        runs (`graceful_timeout`).
        """
        os.kill(self._system.getpid(), signal.SIGTERM)
        return True

    def leave(self) -> NoReturn:
        """End this worker at once; the arbiter starts another one. (3 and 4 would end the instance:
        gunicorn/arbiter.py).
        """
        self._system.exit(0)
        raise AssertionError  # a test's System may return

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors, which gunicorn tells nobody: found among those of this
        process.
        """
        pid = self._system.getpid()
        if self._listening_of != pid:
            self._listening, self._listening_of = sockets.listening_descriptors(), pid
        return self._listening

    def client_fd(self, environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the client's connection."""
        sock = environ.get("gunicorn.socket")
        return None if sock is None else int(sock.fileno())

    def all_clients_may_half_close(self) -> bool:
        """Return True in a worker that listens to TCP alone."""
        if self._http_over_tcp is None and self.identity().role == WORKER:
            families = sockets.families(self.listening())
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


def _after_load(callback: Callback) -> None:
    """Have `callback` called when this worker has loaded its app, after the hook of the
    configuration.

    In the child of `preload_app`, SIGTERM is still the arbiter's (arbiter.py, spawn_worker).
    """
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    settings = getattr(getattr(owner, "cfg", None), "settings", None) or {}
    hook = settings.get("post_worker_init")
    if hook is None or hasattr(hook.value, "resilient_wsgi"):
        return
    configured = hook.value

    def post_worker_init(worker: Any) -> None:
        configured(worker)
        callback()

    post_worker_init.resilient_wsgi = True  # type: ignore[attr-defined]
    hook.value = post_worker_init


def _worker() -> Any:
    """Return gunicorn's worker, the owner of its own handler of SIGTERM; None where there is none."""
    worker: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return worker if hasattr(worker, "notify") and hasattr(worker, "booted") else None


def _inside_worker(folder: str) -> bool:
    return _worker() is not None or callers.inside(os.path.join(folder, "workers", ""))


def running() -> bool:
    """Return whether gunicorn runs in this process: as a program, `python -m gunicorn`, or a custom
    application.

    Where the app is loaded, gunicorn's own code is on the stack; in threads it is not, but its
    worker handles SIGTERM.
    """
    if "gunicorn.arbiter" not in sys.modules:
        return False
    return (
        os.path.basename(sys.argv[0] or "") == PACKAGE
        or _worker() is not None
        or callers.inside(callers.folder(PACKAGE))
    )
