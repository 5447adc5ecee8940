"""uWSGI 2.0, seen from its master, workers, mules and spoolers.

This folder alone imports `uwsgi`, a module that exists only inside uWSGI's own processes.
"""

from __future__ import annotations

import atexit
import os
import random  # noqa: F401 - uWSGI imports it in each child before the hook of the fork (uwsgi_python_reset_random_seed)
import signal
from types import CodeType
from typing import NoReturn, Optional

import uwsgi

from ...core import frames
from ...core.guard import Guard
from ...core.system import SYSTEM, PerProcess, System, process_of
from ..base import MASTER, MULE, SPOOLER, WORKER, Identity, Server
from . import hooks, native, rpc, signals
from .facts import Configuration, Connections
from .harakiri import Harakiri
from .supervision import READY_RPC, Supervision

# 29 is UWSGI_QUIET_CODE: a plain respawn, without a log line. 15 would take the worker out of the
# pool (cheaper), 22 would mean that the app failed and, with need-app, end the instance
# (core/master.c)
QUIET_CODE = 29
MERCIES = {WORKER: "worker-reload-mercy", MULE: "mule-reload-mercy"}
DEFAULT_MERCY = 60  # core/init.c
POSTFORK = "postfork_chain_hook"  # of uwsgidecorators.py

_guard = Guard("servers")


class UwsgiServer(Server):
    """uWSGI 2.0, prefork and lazy-apps.

    Start comes from `post_fork_hook`, which runs in lazy-apps only if this was imported in the
    master (`shared-import`); ready from the RPC of `hook-accepting` or, without that line, from the
    first request; stop from `uwsgi.atexit`, which uWSGI skips when the worker is in a request.
    """

    name = "uwsgi"
    may_exit = True
    configuration: Configuration
    supervision: Supervision

    def __init__(self, system: System = SYSTEM) -> None:
        super().__init__(system)
        self.configuration = Configuration()
        self.connections = Connections()
        self.harakiri = Harakiri(uwsgi, self.configuration.number, system)
        self.supervision = Supervision(self.configuration, system)
        self._mule_trap: Optional[native.ExitTrap] = None
        self._serves = PerProcess(lambda: False, process_of(system))
        self._kill_timer_set = PerProcess(lambda: False, process_of(system))
        role = self.identity().role
        frames.state.prepare()
        if role == MASTER:
            frames.state.not_forked()
        else:
            # before we start threads: on 3.9 and 3.10 only those of `threading` are known to live
            frames.why_not()
        hooks.chain(uwsgi, "post_fork_hook", self._post_fork)
        hooks.chain(uwsgi, "atexit", self.stopping)
        if role in (MASTER, WORKER):  # the others may not, and accept nothing
            rpc.register(READY_RPC, self._accepting)
        # as early as can be: the earliest runs last
        atexit.register(self._cancel_kill_timer)
        if role != MASTER:  # imported in lazy-apps without shared-import: the fork is behind us
            frames.why_not()  # looks, and cleans up, while this process has no other thread
            self._forked()

    def _post_fork(self) -> None:
        # before anything else runs here: the next may start a thread, or walk the list
        frames.state.forked()
        self._forked()

    def _forked(self) -> None:
        self.hooks.child.reach()
        self.supervision.leave_to_master()
        role = self.identity().role
        if role == WORKER:
            self.started()
        elif role == MULE and self.configuration.loads_in_worker():
            # only workers run uwsgi.atexit there since 2.0.30 (core/uwsgi.c, uwsgi_worker_run), and
            # mules end by exit() (end_me)
            self._mule_trap = native.ExitTrap(self.stopping)
            self._mule_trap.set()

    def started(self) -> None:
        """Note that this worker has started, and that it will serve, unless `hook-accepting` is to
        tell when its app is loaded.
        """
        super().started()
        if not (self.configuration.loads_in_worker() and self.supervision.has_hook()):
            self.hooks.serving.reach()

    def stopping(self) -> None:
        """Run what is to run when this process ends; its interpreter is finalized next."""
        super().stopping()
        self.supervision.leave_to_master()  # uWSGI's gateways come here without a fork hook

    def _accepting(self) -> bytes:
        # whatever happens: uWSGI ends the instance if an accepting hook returns nothing, or no
        # bytes (core/hooks.c)
        try:
            self._load_is_over()
        except BaseException as error:
            _guard.report(error)
        return b"1"

    def _load_is_over(self) -> None:
        try:
            self.hooks.loaded.reach()
            self.ready()
        except MemoryError:  # before it was found out whether there is an app
            self.exit()

    def identity(self) -> Identity:
        """Return who this process is."""
        pid, master_pid, worker = self._system.getpid(), uwsgi.masterpid(), uwsgi.worker_id()
        if worker:
            return Identity(WORKER, worker, pid, master_pid, worker)
        if uwsgi.mule_id():
            return Identity(MULE, 0, pid, master_pid, uwsgi.mule_id())
        if uwsgi.i_am_the_spooler():
            return Identity(SPOOLER, 0, pid, master_pid)
        return Identity(MASTER, 0, pid, master_pid)

    def is_first_worker(self) -> bool:
        """Return whether this is the first life of worker 1."""
        return uwsgi.worker_id() == 1 and not uwsgi.workers()[0]["respawn_count"]

    def is_first_interpreter(self) -> bool:
        """Return whether this is the interpreter of `shared-import` and of the app that was mounted
        first.
        """
        try:
            return frames.state.thread_states().is_main_interpreter()
        except Exception:  # then nothing distinguishes one interpreter from another
            return True

    def interpreter_number(self) -> int:
        """Return the number of this interpreter: each mounted app has one of its own."""
        try:
            return frames.state.thread_states().interpreter_number()
        except Exception:  # likewise
            return 0

    def forked_by_app(self) -> bool:
        """Return whether this process is neither the master nor its child; without a master,
        whether it is no worker.
        """
        pid, master_pid, worker = self._system.getpid(), uwsgi.masterpid(), uwsgi.worker_id()
        if master_pid:
            return master_pid not in (pid, os.getppid())
        return bool(worker) and uwsgi.workers()[worker - 1]["pid"] not in (0, pid)

    def reloaded(self) -> bool:
        """Return whether this program was started by a reload of the instance, or by something that
        uWSGI has started.
        """
        return bool(getattr(uwsgi, "is_a_reload", False))

    def load_is_over(self) -> bool:
        """Return whether this worker is ready; in prefork, whether it is a worker: the app was
        loaded before the fork.
        """
        in_master = not self.configuration.loads_in_worker()
        return super().load_is_over() or bool(uwsgi.worker_id() and in_master)

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return False for what runs the functions of `post_fork_hook`; uWSGI itself is not written
        in Python.
        """
        return False if code.co_name == POSTFORK or hooks.runs_hooks(code) else None

    def serving(self) -> bool:
        """Return whether this worker has begun to serve; mules and spoolers have once they are
        forked.
        """
        if not self._serves.get():
            role = self.identity().role
            self._serves.set(signals.serves() if role == WORKER else role != MASTER)
        return self._serves.get()

    def end_when_signalled(self) -> None:
        """Have this worker end on a signal where uWSGI would lose it (see signals.py)."""
        is_worker = self.identity().role == WORKER
        starting = is_worker and uwsgi.masterpid() and not signals.serves()
        if starting and signals.end_while_starting() and self.configuration.threads() > 1:
            signals.end_when_woken()

    def mercy(self) -> Optional[float]:
        """Return `worker-reload-mercy` or `mule-reload-mercy`; None without a master, and for what
        the master waits for.
        """
        option = MERCIES.get(self.identity().role)
        if option is None or not uwsgi.masterpid():
            return None
        return float(self.configuration.number(option) or DEFAULT_MERCY)

    def set_kill_timer(self, seconds: int) -> bool:
        """Have the master kill this worker with SIGKILL unless it is gone within `seconds` (whole,
        up to 1 s early).
        """
        if not uwsgi.masterpid():
            return False
        uwsgi.set_user_harakiri(seconds)
        self._kill_timer_set.set(bool(seconds))
        return True

    def _cancel_kill_timer(self) -> None:
        """Cancel the timer of a worker that is about to be gone.

        The master keeps it with the place of the worker: in one that `cheaper` leaves empty it
        would fire again and again at pid 0, and the master would sleep a second each time
        (core/master_checks.c, uwsgi_master_check_workers_deadline).
        """
        if self._kill_timer_set.get():
            self.set_kill_timer(0)

    def drain(self) -> bool:
        """Do what a graceful reload of this worker does, if there is a master to replace it."""
        if not uwsgi.masterpid() or not uwsgi.worker_id():
            return False
        os.kill(self._system.getpid(), signal.SIGHUP)  # core/uwsgi.c, gracefully_kill
        return True

    def exit(self) -> NoReturn:
        """End this worker at once; the master starts another, without counting an error."""
        self._cancel_kill_timer()
        self._system.exit(QUIET_CODE)
        raise AssertionError  # a test's System may return
