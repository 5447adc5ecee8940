"""gunicorn: sync and gthread workers, seen from inside the app.

gunicorn's own hooks can only be set in its configuration file. What the app can find out is enough:
it is loaded in the worker (or, with `preload_app`, before a real `os.fork`), its worker is a child
of the arbiter, and the interpreter's exit functions run when it stops.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from types import CodeType
from typing import TYPE_CHECKING, Any, Callable, FrozenSet, NamedTuple, NoReturn, Optional, Tuple

from ..core.system import SYSTEM, PerProcess, System
from ..host import procfs, sockets
from . import call_stack
from .base import MASTER, PROCESS, WORKER, Callback, Identity
from .facts import Configuration, Connections, Harakiri
from .plain import PlainServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


PACKAGE = "gunicorn"
SYNC = "gunicorn.workers.sync"
# gunicorn's functions that call the app's code for another reason than a request
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
# socket.socket's property of this name makes an enum, which takes a microsecond; this is the plain
# number
_family = socket.socket.__base__.family.__get__  # type: ignore[union-attr]
# any but 3 and 4, on which the arbiter halts (arbiter.py, reap_workers); the same as under uWSGI
LEFT_CODE = 29


class Boot(NamedTuple):
    """A worker that is about to load its app: if that fails, gunicorn would halt the instance.

    `notify` reports to the arbiter that the worker lives, `wanted` whether it is still to;
    `exit_code` means "start another"; `shows_syntax_errors`: the server shows them to the
    developer, and loads the app again when its files change.
    """

    arbiter: int
    worker: int
    workers: int
    exit_code: int
    notify: Callable[[], object]
    wanted: Callable[[], bool]
    shows_syntax_errors: bool = False

    @classmethod
    def current(cls) -> Optional[Boot]:
        """Return the boot of this worker; None in the arbiter, where `preload_app` loads, and if
        this is not gunicorn.
        """
        worker = _worker() if running() else None
        if worker is None:
            return None
        return cls(
            arbiter=os.getppid(),
            worker=worker.age,
            workers=worker.cfg.workers,
            exit_code=LEFT_CODE,
            notify=worker.notify,
            wanted=lambda: bool(worker.alive),
            shows_syntax_errors=bool(worker.cfg.reload),  # workers/base.py, load_wsgi
        )


class GunicornServer(PlainServer):
    """gunicorn, sync and gthread."""

    name = "gunicorn"

    def __init__(
        self, system: System = SYSTEM, *, predecessor: Optional[PlainServer] = None
    ) -> None:
        self._folder = call_stack.folder_of(PACKAGE) or "/nowhere/"
        # pids, not `PerProcess`: who this process is follows from who its parent is. The arbiter
        # itself imports the app with preload_app, and must not be taken for a worker
        self._arbiter = 0 if _inside_worker(self._folder) else system.getpid()
        # found out in the child of the fork, in which nothing else has run yet
        if predecessor is not None:
            self._arbiter = os.getppid()
        self._first_worker = 0 if self._arbiter else system.getpid()
        # this worker's own descriptor of the file by which the arbiter sees that it lives
        self._heartbeat: PerProcess[int] = PerProcess(_heartbeat)
        self._inodes: PerProcess[FrozenSet[int]] = PerProcess(_listening_inodes)
        self.connections = _Connections(self)
        self.harakiri = _Harakiri(self)
        self.configuration = _Configuration()
        super().__init__(system, predecessor=predecessor)
        os.register_at_fork(after_in_child=self.started)

    def started(self) -> None:
        """Note that this worker has started; neither the arbiter nor a worker's child is one."""
        if self.identity().role == WORKER:
            super().started()
            _after_load(self.ready)

    def is_first_worker(self) -> bool:
        """Return whether this is the first worker that the arbiter has started."""
        worker = _worker()
        return worker is None or worker.age == 1

    def identity(self) -> Identity:
        """Return who this process is; gunicorn does not number its workers."""
        pid, parent = self._system.getpid(), os.getppid()
        if pid == self._arbiter:
            return Identity(MASTER, 0, pid, pid)
        if pid == self._first_worker or parent == self._arbiter:
            return Identity(WORKER, 0, pid, parent)
        return Identity(PROCESS, 0, pid, parent)

    def forked_by_app(self) -> bool:
        """Return whether this process is neither the arbiter nor one of its workers."""
        return self.identity().role == PROCESS

    def is_server_code(self, path: str) -> bool:
        """Return whether a file is gunicorn's."""
        return path.startswith(self._folder)

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return, for gunicorn's own functions, whether they are on the way to a request."""
        return code.co_name not in LOADING if self.is_server_code(code.co_filename) else None

    def mercy(self) -> Optional[float]:
        """Return `graceful_timeout` if the arbiter is stopping, else `timeout`: in its loop it only
        kills workers that do not notify it.

        This notifies the arbiter for the last time. gunicorn closes the worker's descriptor for
        that when the worker exits its loop (arbiter.py, spawn_worker), so only a worker that has
        background work, for which a duplicate is kept, can.
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

    def _arbiter_stops(self) -> Optional[bool]:
        """Return whether the arbiter has closed its sockets, which it does first; None if that
        cannot be seen.
        """
        inodes = self._listens_to()
        try:
            open_there = procfs.socket_inodes(os.getppid())
        except OSError:  # its owner is another user, or it is gone
            return None
        return inodes.isdisjoint(open_there) if inodes else None

    def _listens_to(self) -> FrozenSet[int]:
        found = self._inodes.peek() or _listening_inodes()
        if found:  # gthread closes its sockets before it ends
            self._inodes.set(found)
        return found

    def work_begins(self) -> None:
        """Keep what the end of this worker will need: the file by which the arbiter sees that it
        lives, and what it listens to.
        """
        if self._heartbeat.peek() is None:
            with contextlib.suppress(AttributeError, OSError, ValueError):
                self._heartbeat.get()
                self._listens_to()

    def _notify(self) -> bool:
        fd = self._heartbeat.peek()
        if fd is None:
            return False
        now = time.monotonic()  # workers/workertmp.py, since gunicorn 21
        try:
            os.utime(fd, (now, now))
        except OSError:
            return False
        return True

    def drain(self) -> bool:
        """Do what the arbiter does to stop a worker: it closes its listeners and waits for the
        requests that run (`graceful_timeout`).
        """
        os.kill(self._system.getpid(), signal.SIGTERM)
        return True

    def exit(self) -> NoReturn:
        """End this worker at once; the arbiter starts another."""
        self._system.exit(0)
        raise AssertionError  # a test's System may return


class _Configuration(Configuration):
    """What gunicorn's settings say."""

    def threads(self) -> int:
        """Return how many requests one worker works on at a time: gthread, more than one."""
        worker = _worker()
        return 1 if worker is None else max(1, int(worker.cfg.threads))


class _Harakiri(Harakiri):
    """gunicorn has none, but a sync worker that is busy for too long is killed as well."""

    def __init__(self, server: GunicornServer) -> None:
        self._server = server

    def kills_after(self) -> Optional[float]:
        """Return `timeout` in a sync worker, which notifies the arbiter only between requests."""
        worker = _sync_worker(self._server)
        return None if worker is None else float(worker.cfg.timeout) or None


class _Connections(Connections):
    """gunicorn does not expose its sockets: they are found among the process's descriptors."""

    def __init__(self, server: GunicornServer) -> None:
        self._server = server
        self._listening = PerProcess(sockets.listening_descriptors)
        self._http_over_tcp: Optional[bool] = None  # whether a worker listens to that alone
        self._closes: Optional[bool] = None  # whether it closes each connection: a sync worker does

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors of this process."""
        return self._listening.get()

    def queued(self) -> Callable[[], bool]:
        """Look into the queue of gthread's pool, too: it accepts more than it has threads."""
        in_kernel = super().queued()
        pool = getattr(_worker(), "tpool", None)
        handed_over = getattr(getattr(pool, "_work_queue", None), "qsize", lambda: 0)
        return lambda: handed_over() > 0 or in_kernel()

    def client_fd(self, environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the client's connection."""
        sock = environ.get("gunicorn.socket")
        return None if sock is None else int(sock.fileno())

    def all_clients_may_half_close(self) -> bool:
        """Return True in a worker that listens to TCP alone."""
        if self._http_over_tcp is None and self._server.identity().role == WORKER:
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

    def close_promptly(self, environ: WSGIEnvironment) -> None:
        """Have a sync worker not wait for the client to close the connection of a request without a
        body. It does so after each answer, for up to 2 s, so that a client that still sends is not
        cut off (util.py, close_graceful). Workers that shed many would mostly wait, and the longer,
        the busier their clients are.
        """
        if self._closes is None:
            self._closes = _sync_worker(self._server) is not None
        sock = environ.get("gunicorn.socket")
        # a shutdown of TLS would end the answer, too
        if self._closes and type(sock) is socket.socket and not _has_body(environ):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)


def _has_body(environ: WSGIEnvironment) -> bool:
    length = environ.get("CONTENT_LENGTH")
    return length not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ


def _sync_worker(server: GunicornServer) -> Any:
    """Return gunicorn's worker if this is a sync one, else None."""
    worker = _worker() if server.identity().role == WORKER else None
    sync = worker is not None and any(each.__module__ == SYNC for each in type(worker).__mro__)
    return worker if sync else None


def _after_load(callback: Callback) -> None:
    """Have `callback` called when this worker has loaded its app, after the configured hook.

    With `preload_app`, the child still has the arbiter's SIGTERM handler here (arbiter.py,
    spawn_worker).
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
    """Return gunicorn's worker, the owner of the SIGTERM handler; None if there is none."""
    worker: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return worker if hasattr(worker, "notify") and hasattr(worker, "booted") else None


def _heartbeat() -> int:
    return os.dup(_worker().tmp.fileno())


def _listening_inodes() -> FrozenSet[int]:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return frozenset(os.fstat(sock.fileno()).st_ino for sock in _worker().sockets)
    return frozenset()


def _inside_worker(folder: str) -> bool:
    return _worker() is not None or call_stack.is_inside(os.path.join(folder, "workers", ""))


def running() -> bool:
    """Return whether gunicorn runs in this process: as a program, `python -m gunicorn`, or a custom
    application.

    While the app loads, gunicorn's own code is on the stack; in threads it is not, but its worker
    handles SIGTERM.
    """
    if "gunicorn.arbiter" not in sys.modules:
        return False
    return (
        os.path.basename(sys.argv[0] or "") == PACKAGE
        or _worker() is not None
        or call_stack.is_inside(call_stack.folder_of(PACKAGE))
    )
