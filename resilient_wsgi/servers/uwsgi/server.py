"""uWSGI: the only module that imports `uwsgi`, which exists inside uWSGI's own processes alone."""

from __future__ import annotations

import atexit
import os
import pwd
import random  # noqa: F401 - uWSGI imports it in each child before the hook of the fork (uwsgi_python_reset_random_seed)
import signal
import socket
from types import CodeType
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, NoReturn, Optional, Tuple

import uwsgi

from ...core import frames
from ...core.guard import Guard
from ...core.system import SYSTEM, System
from ...host import sockets
from ..base import MASTER, MULE, SPOOLER, WORKER, HarakiriOf, Identity, Server
from ..hooks import Callback
from . import apps as uwsgi_apps, native as uwsgi_native, rpc as uwsgi_rpc, signals as uwsgi_signals
from .harakiri import Harakiri
from .hooks import chain

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

READY_RPC = "resilient_wsgi_ready"
HOOK = f"rpc:{READY_RPC}"
# 29 is UWSGI_QUIET_CODE: a plain respawn without a word. 15 would take the worker out of the pool
# (cheaper), 22 would say that the app failed and, with need-app, end the instance (core/master.c)
QUIET_CODE = 29
FAILED_APP_CODE = 22
MERCIES = {WORKER: "worker-reload-mercy", MULE: "mule-reload-mercy"}
DEFAULT_MERCY = 60  # core/init.c
FORK_HOOKS = os.path.join("servers", "uwsgi_hooks.py")
POSTFORK = "postfork_chain_hook"  # of uwsgidecorators.py
FORKBOMB_DELAY = "forkbomb-delay"
DEFAULT_LISTEN = 100  # core/init.c

# uwsgi.accepting() returns a None that it does not own: before 3.12 each call takes one reference
# to it away
_given_back: List[None] = []

_guard = Guard("servers")


class UwsgiServer(Server):
    """uWSGI 2.0, prefork and lazy-apps.

    Start comes from `post_fork_hook`, which runs in lazy-apps only if this was imported in the
    master (`shared-import`); ready from the RPC of `hook-accepting` or, without that line, from the
    first request; stop from `uwsgi.atexit`, which uWSGI skips when the worker is in a request.
    """

    name = "uwsgi"
    may_leave = True

    def __init__(self, system: System = SYSTEM) -> None:
        super().__init__(system)
        role = self.identity().role
        frames.state.prepare()
        if role == MASTER:
            frames.state.not_forked()
        else:  # before threads of ours are there: on 3.9 and 3.10 only those of `threading` are known to live
            frames.why_not()
        chain(uwsgi, "post_fork_hook", self._post_fork)
        chain(uwsgi, "atexit", self.stopping)
        if role in (MASTER, WORKER):  # the others may not, and accept nothing
            uwsgi_rpc.register(READY_RPC, self._accepting)
        self._serves_in = self._fused = 0
        atexit.register(self._call_fuse_off)  # as early as can be: the earliest runs last
        self._raw_http: Optional[bool] = None
        self._harakiri = Harakiri(uwsgi, system)
        self._can_fail = False
        self._master_trap: Optional[uwsgi_native.ExitTrap] = None
        self._mule_trap: Optional[uwsgi_native.ExitTrap] = None
        self._hooked = ""
        self._awake = ""
        if role != MASTER:  # imported in lazy-apps without shared-import: the fork is behind us
            frames.why_not()  # looks, and cleans up, while this process has no other thread
            self._forked()

    def _post_fork(self) -> None:
        # before anything else runs here: the next may start a thread, or walk the list
        frames.state.forked()
        self._forked()

    def _forked(self) -> None:
        self.forked()
        self._remove_master_trap()
        role = self.identity().role
        if role == WORKER:
            self.started()
        elif role == MULE and self.loads_in_worker():
            # only workers run uwsgi.atexit there since 2.0.30 (core/uwsgi.c, uwsgi_worker_run), and
            # mules end by exit() (end_me)
            self._mule_trap = uwsgi_native.ExitTrap(self.stopping)
            self._mule_trap.set()

    def stopping(self) -> None:
        """Run what is to be run when this process ends; its interpreter is finalized next."""
        super().stopping()
        self._remove_master_trap()  # uWSGI's gateways come here without a fork hook

    def _remove_master_trap(self) -> None:
        if self._master_trap is not None:
            self._master_trap.remove()

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
            self._loaded.reach()
            self.ready()
        except MemoryError:  # before it was found out whether there is an app
            self.leave()

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

    def forked_by_app(self) -> bool:
        """Return whether this process is neither the master nor its child; without a master,
        whether it is no worker.
        """
        pid, master_pid, worker = self._system.getpid(), uwsgi.masterpid(), uwsgi.worker_id()
        if master_pid:
            return master_pid not in (pid, os.getppid())
        return bool(worker) and uwsgi.workers()[worker - 1]["pid"] not in (0, pid)

    def first_interpreter(self) -> bool:
        """Return whether this is the interpreter of the app that was mounted first, and of
        `shared-import`.
        """
        try:
            return frames.state.thread_states().is_main_interpreter()
        except Exception:  # then nothing tells one interpreter from another
            return True

    def on_worker_serving(self, callback: Callback) -> None:
        """Run `callback` after the fork, or with lazy-apps when `hook-accepting` says that the app
        is loaded.
        """
        tells = bool(self._hooked) or self._configured_hook()
        (self._ready if tells and self.loads_in_worker() else self._start).add(callback)

    def first_worker(self) -> bool:
        """Return whether this is the first life of worker 1."""
        return uwsgi.worker_id() == 1 and not uwsgi.workers()[0]["respawn_count"]

    def harakiri(self) -> Optional[float]:
        """Return the seconds of the option `harakiri`, None where it is not set or not always in
        force.
        """
        return None if self._harakiri_depends() else float(self._number("harakiri")) or None

    def harakiri_by_request(self) -> Optional[HarakiriOf]:
        """Return a function where routes may set it, or bodies that are buffered add to it."""
        if self._harakiri_depends():
            return None
        return self._harakiri.by_request(self.harakiri(), self._number("post-buffering"))

    def deadline_remedy(self) -> str:
        """Return which settings give requests a deadline here."""
        if self._harakiri_depends():
            return "REQUEST.TIMEOUT (harakiri depends on harakiri-queue-threshold)"
        return "REQUEST.TIMEOUT or harakiri"

    def harakiri_left(self) -> Optional[float]:
        """Return the seconds until the master ends this worker, where it works on one request."""
        alone = uwsgi.cores == 1 and not self._harakiri_depends()
        return self._harakiri.left() if alone else None

    def _harakiri_depends(self) -> bool:
        """Return whether harakiri waits for a listen queue of some length (core/master_checks.c)."""
        return self._number("harakiri-queue-threshold") > 0

    def on_harakiri_set(self, callback: Optional[Callback]) -> None:
        """Call `callback` after `uwsgi.set_user_harakiri()`."""
        self._harakiri.on_set(callback)

    def concurrency(self) -> int:
        """Return the cores of a worker: threads, or requests of an asynchronous loop."""
        return int(uwsgi.cores)

    def threads(self) -> int:
        """Return the option `threads`."""
        return self._number("threads") or 1

    def load_is_over(self) -> bool:
        """Return whether this worker is ready; in prefork, whether it is a worker: the app was
        loaded before the fork.
        """
        return super().load_is_over() or bool(uwsgi.worker_id() and not self.loads_in_worker())

    def loaded(self) -> Optional[bool]:
        """Return whether this worker has an app; None outside a worker, and where none is
        configured.
        """
        worker = uwsgi.worker_id()
        return self.peer_has_app(worker) if worker else None

    def load_problem(self) -> str:
        """Return why this worker has no app at all: none was loaded, or what was is not a callable."""
        return uwsgi_apps.problem(self._apps(), uwsgi.opt) if uwsgi.worker_id() else ""

    def apps(self) -> int:
        """Return how many apps this worker has."""
        return len(self._apps()) if uwsgi.worker_id() else 0

    def missing_apps(self) -> str:
        """Return which mounts have no app, in a worker that has others."""
        return uwsgi_apps.missing(self._apps(), uwsgi.opt) if uwsgi.worker_id() else ""

    def _apps(self) -> Tuple[Mapping[str, Any], ...]:
        apps: Tuple[Mapping[str, Any], ...] = uwsgi.workers()[uwsgi.worker_id() - 1]["apps"]
        return apps

    def loads_in_worker(self) -> bool:
        """Return whether one of the options `lazy-apps` and `lazy` is set."""
        return any(uwsgi_apps.is_true(uwsgi.opt.get(option)) for option in ("lazy-apps", "lazy"))

    def workers(self) -> int:
        """Return the option `processes`."""
        return int(uwsgi.numproc)

    def worker_uid(self) -> Optional[int]:
        """Return the option `uid`: with `master-as-root` the workers take it after the fork."""
        value = uwsgi.opt.get("uid", b"")
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if text.isdigit():
            return int(text)
        try:
            return pwd.getpwnam(text).pw_uid
        except KeyError:
            return None

    def has_place(self, kind: str, name: str) -> Optional[bool]:
        """Return whether there is a `worker` or `mule` of this number, or a `farm` of this name."""
        if kind == "farm":
            return uwsgi_native.has_farm(name)
        return uwsgi_native.has_mule(int(name)) if kind == "mule" else int(name) <= self.workers()

    def in_farm(self, name: str) -> bool:
        """Return whether this mule is in a farm."""
        return bool(uwsgi.mule_id() and uwsgi.in_farm(name))

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
        """Return True for raw HTTP over TCP, and behind uWSGI's own HTTP router, whose habits were
        not measured.
        """
        if self._raw_http is None:
            http = any(
                option.startswith(("http-socket", "https-socket", "http11-socket"))
                for option in uwsgi.opt
            )
            self._raw_http = http and sockets.families(self.listening()) != {socket.AF_UNIX}
        return self._raw_http or "UWSGI_ROUTER" in environ

    def mercy(self) -> Optional[float]:
        """Return `worker-reload-mercy` or `mule-reload-mercy`; None without a master, and for what
        the master waits for.
        """
        option = MERCIES.get(self.identity().role)
        if option is None or not uwsgi.masterpid():
            return None
        return float(self._number(option) or DEFAULT_MERCY)

    def serving(self) -> bool:
        """Return whether this worker has begun to serve; mules and spoolers have once they are
        forked.
        """
        pid = self._system.getpid()
        if self._serves_in != pid:
            role = self.identity().role
            serves = uwsgi_signals.serves() if role == WORKER else role != MASTER
            self._serves_in = pid if serves else 0
        return self._serves_in == pid

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return False for what runs the functions of `post_fork_hook`; uWSGI itself is not written
        in Python.
        """
        return False if code.co_name == POSTFORK or code.co_filename.endswith(FORK_HOOKS) else None

    def set_fuse(self, seconds: int) -> bool:
        """Have the master kill this worker with SIGKILL unless it is gone within `seconds` (whole,
        up to 1 s early).
        """
        if not uwsgi.masterpid():
            return False
        uwsgi.set_user_harakiri(seconds)
        self._fused = self._system.getpid() if seconds else 0
        return True

    def _call_fuse_off(self) -> None:
        """Take the fuse away from a worker that is about to be gone.

        The master keeps it with the place of the worker: in one that `cheaper` leaves empty it
        would fire again and again at pid 0, and the master would sleep a second each time
        (core/master_checks.c, uwsgi_master_check_workers_deadline).
        """
        if self._fused == self._system.getpid():
            self.set_fuse(0)

    def obey(self) -> None:
        """Have this worker end when it is told to where uWSGI would lose that (see signals.py)."""
        starting = (
            self.identity().role == WORKER and uwsgi.masterpid() and not uwsgi_signals.serves()
        )
        if starting and uwsgi_signals.end_while_starting() and self.threads() > 1:
            uwsgi_signals.end_when_woken()

    def leave_while_starting(self, leave: Callable[[], object]) -> None:
        """Have `leave` called by the signals that end a worker, until uWSGI sets its own handlers,
        when the load is over.
        """
        uwsgi_signals.end_while_starting(leave)

    def drain(self) -> bool:
        """Do what a graceful reload of this worker does; without a master nobody would replace it."""
        if not uwsgi.masterpid() or not uwsgi.worker_id():
            return False
        os.kill(self._system.getpid(), signal.SIGHUP)  # core/uwsgi.c, gracefully_kill
        return True

    def uses_signal(self, number: int) -> str:
        """Return the option that names this signal."""
        return (
            "harakiri-graceful-signal" if self._number("harakiri-graceful-signal") == number else ""
        )

    def leave(self) -> NoReturn:
        """End this worker at once; the master starts it anew, without counting it as an error."""
        self._call_fuse_off()
        self._system.exit(QUIET_CODE)
        raise AssertionError

    def set_accepting(self, accepts: bool) -> None:
        """Set the flag that `touch-chain-reload` waits for. uWSGI itself sets it before it runs
        `hook-accepting`.
        """
        uwsgi.accepting(1 if accepts else 0)
        _given_back.append(None)

    def peer_has_app(self, worker: int) -> Optional[bool]:
        """Return whether another worker has an app; None where the configuration names none."""
        if not uwsgi_apps.configured(uwsgi.opt):
            return None
        return bool(uwsgi.workers()[worker - 1]["apps"])

    def recycle(self, pid: int, *, kill: bool = False) -> None:
        """Send SIGHUP, by which a worker finishes its request and goes, or SIGKILL; the master
        starts it anew.
        """
        os.kill(pid, signal.SIGKILL if kill else signal.SIGHUP)

    def ignore_sigpipe(self) -> bool:
        """Set `ignore-sigpipe`, before workers install a handler which writes to that log
        (unbit/uwsgi #1786).
        """
        set_already = uwsgi_apps.is_true(uwsgi.opt.get("ignore-sigpipe"))
        return not set_already and uwsgi_native.set_option("ignore-sigpipe", "true")

    def trap_exit(self, callback: Callback) -> Callback:
        """Set a trap in libc's `exit()`, by which uWSGI ends a worker without an app if `need-app`
        is set.
        """
        trap = uwsgi_native.ExitTrap(callback)
        return trap.remove if trap.set() else super().trap_exit(callback)

    def readiness_means(self) -> Tuple[str, ...]:
        """Return whether the hook is there and what code the instance ends with."""
        hook = (
            self._hooked
            or "MISSING: hook-accepting = rpc:resilient_wsgi_ready, so workers without an app do accept"
        )
        end = (
            "code 22"
            if self._can_fail
            else "code 0: the C library or this build of uWSGI does not let us change it"
        )
        awake = (
            self._awake
            or "MISSING: forkbomb-delay = 0, so the master may sleep for 2 s when many loads fail at once"
        )
        return (
            hook,
            *([awake] if self.loads_in_worker() else []),
            f"if no worker ever loads, the instance ends ({end})",
        )

    def respawns(self) -> bool:
        """Return whether there is a master."""
        return bool(uwsgi.masterpid())

    def reloaded(self) -> bool:
        """Return whether this program was started by a reload of the instance, or by something that
        uWSGI has started.
        """
        return bool(getattr(uwsgi, "is_a_reload", False))

    def reload_instance(self) -> None:
        """Do what SIGHUP to the master does."""
        if uwsgi.masterpid():
            os.kill(uwsgi.masterpid(), signal.SIGHUP)

    def reload_harms(self) -> str:
        """Return the option by which the instance has other processes that a reload would end."""
        if not uwsgi.masterpid():
            return "no master"
        return next((name for name in uwsgi.opt if uwsgi_apps.OTHER_PROCESSES.match(name)), "")

    def fail_exit_when(self, failed: Callable[[], object], *, need_app: bool = True) -> None:
        """Have the instance end with code 22 if `failed()` is true when the master exits.

        To be called in the master.

        In prefork, at a cold start, this also sets `need-app`, by which a load that fails in the
        master ends it with that code at once: where an app is configured at all.
        """
        master = self._system.getpid()

        def exiting() -> None:
            if self._system.getpid() == master and failed():
                uwsgi_native.exit_again(FAILED_APP_CODE)

        self._master_trap = uwsgi_native.ExitTrap(exiting)
        self._can_fail = self._master_trap.set()
        if need_app and uwsgi_apps.configured(uwsgi.opt) and not self.loads_in_worker():
            self._can_fail &= uwsgi_native.set_option("need-app", "true")
        self._hooked = self._hook()

    def keep_master_awake(self) -> None:
        """Set `forkbomb-delay = 0`, unless the configuration sets it.

        Otherwise the master sleeps for 2 s, and with it harakiri, when more workers than there are
        have ended in a row, each at most one of its whole seconds after the one before
        (core/master.c, "worker respawning too fast").
        """
        chosen = uwsgi.opt.get(FORKBOMB_DELAY)
        if chosen is not None:
            self._awake = f"{FORKBOMB_DELAY} = {chosen.decode()}, as configured"
        elif uwsgi_native.set_option(FORKBOMB_DELAY, "0"):
            self._awake = (
                f"{FORKBOMB_DELAY} = 0 (set): the master never sleeps over loads that fail"
            )

    def _hook(self) -> str:
        if self._configured_hook():
            return "hook-accepting"
        return "hook-accepting (added)" if uwsgi_native.set_option("hook-accepting", HOOK) else ""

    def _configured_hook(self) -> bool:
        last = uwsgi.opt.get("hook-accepting", b"").decode()
        return HOOK in (last, *(uwsgi_native.values("hook-accepting") or ()))

    def end_instance(self) -> None:
        """Ask the master to end with a plain stop; its code is what `fail_exit_when` has arranged.

        Without one, just end.
        """
        if not uwsgi.masterpid():  # 0, to which a signal would go to the whole process group
            self._system.exit(FAILED_APP_CODE)
        os.kill(uwsgi.masterpid(), signal.SIGINT)

    def _number(self, option: str) -> int:
        value = uwsgi.opt.get(option, b"")
        digits = value.strip() if isinstance(value, bytes) else b""
        return int(digits) if digits.isdigit() else 0
