"""uWSGI: the only module that imports `uwsgi`, which exists inside uWSGI's own processes alone."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn, Optional, Tuple

import uwsgi

from ..system import SYSTEM, System
from . import listen_queue
from .base import MASTER, MULE, SPOOLER, WORKER, Identity, Server
from .uwsgi_hooks import chain

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

READY_RPC = "resilient_wsgi_ready"
# 29 is UWSGI_QUIET_CODE: a plain respawn without a word. 15 would take the worker out of the pool (cheaper), 22 would say
# that the app failed and, with need-app, end the instance (core/master.c)
QUIET_CODE = 29
DEFAULT_LISTEN = 100  # core/init.c


class UwsgiServer(Server):
    """uWSGI 2.0, prefork and lazy-apps.

    Start comes from `post_fork_hook`, which runs in lazy-apps only if this was imported in the master (`shared-import`);
    ready from the RPC of `hook-accepting` or, without that line, from the first request; stop from `uwsgi.atexit`, which
    uWSGI skips when the worker is in a request.
    """

    name = "uwsgi"

    def __init__(self, system: System = SYSTEM) -> None:
        super().__init__(system)
        chain(uwsgi, "post_fork_hook", self._forked)
        chain(uwsgi, "atexit", self.stopping)
        uwsgi.register_rpc(READY_RPC, self._accepting)
        if self.identity().role == WORKER:  # imported by the app in lazy-apps: the fork is behind us
            self.started()
        self._raw_http: Optional[bool] = None

    def _forked(self) -> None:
        if self.identity().role == WORKER:
            self.started()

    def _accepting(self) -> bytes:
        # whatever happens: uWSGI ends the instance if an accepting hook returns nothing, or no bytes (core/hooks.c)
        try:
            self.ready()
        finally:
            return b"1"  # noqa: B012

    def identity(self) -> Identity:
        """Return who this process is."""
        pid, master_pid, worker = self._system.getpid(), uwsgi.masterpid(), uwsgi.worker_id()
        if worker:
            return Identity(WORKER, worker, pid, master_pid)
        if uwsgi.mule_id():
            return Identity(MULE, 0, pid, master_pid)
        if uwsgi.i_am_the_spooler():
            return Identity(SPOOLER, 0, pid, master_pid)
        return Identity(MASTER, 0, pid, master_pid)

    def harakiri(self) -> Optional[float]:
        """Return the seconds of the option `harakiri`, None where it is not set."""
        return float(self._number("harakiri")) or None

    def threads(self) -> int:
        """Return the option `threads`."""
        return self._number("threads") or 1

    def loaded(self) -> Optional[bool]:
        """Return whether this worker has an app; None outside a worker."""
        worker = uwsgi.worker_id()
        return bool(uwsgi.workers()[worker - 1]["apps"]) if worker else None

    def asked_backlog(self) -> Optional[int]:
        """Return the option `listen`, or uWSGI's default."""
        return self._number("listen") or DEFAULT_LISTEN

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors."""
        return tuple(uwsgi.sockets)

    def client_fd(self, environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the client's connection."""
        del environ
        fd: int = uwsgi.connection_fd()
        return fd if fd >= 0 else None

    def client_may_half_close(self, environ: WSGIEnvironment) -> bool:
        """Return True for raw HTTP over TCP, and behind uWSGI's own HTTP router, whose habits were not measured."""
        if self._raw_http is None:
            http = any(option.startswith(("http-socket", "https-socket", "http11-socket")) for option in uwsgi.opt)
            self._raw_http = http and not listen_queue.all_unix(self.listening())
        return self._raw_http or "UWSGI_ROUTER" in environ

    def set_fuse(self, seconds: int) -> bool:
        """Have the master kill this worker with SIGKILL unless it is gone within `seconds` (whole, up to 1 s early)."""
        if not uwsgi.masterpid():
            return False
        uwsgi.set_user_harakiri(seconds)
        return True

    def drain(self) -> bool:
        """Do what a graceful reload of this worker does; without a master nobody would replace it."""
        if not uwsgi.masterpid() or not uwsgi.worker_id():
            return False
        os.kill(self._system.getpid(), signal.SIGHUP)  # core/uwsgi.c, gracefully_kill
        return True

    def uses_signal(self, number: int) -> str:
        """Return the option that names this signal."""
        return "harakiri-graceful-signal" if self._number("harakiri-graceful-signal") == number else ""

    def leave(self) -> NoReturn:
        """End this worker at once; the master starts it anew, without counting it as an error."""
        self._system.exit(QUIET_CODE)
        raise AssertionError

    def end_instance(self) -> None:
        """Ask the master to end with a brutal stop."""
        os.kill(uwsgi.masterpid(), signal.SIGINT)

    def _number(self, option: str) -> int:
        value = uwsgi.opt.get(option, b"")
        digits = value.strip() if isinstance(value, bytes) else b""
        return int(digits) if digits.isdigit() else 0
