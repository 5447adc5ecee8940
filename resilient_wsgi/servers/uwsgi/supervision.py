"""What readiness needs from uWSGI: whether a worker has its app and counts as accepting, and how
it, a peer, or the whole instance ends.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Callable, List, Mapping, Optional, Tuple

import uwsgi

from ...core.system import SYSTEM, System
from . import apps, native, signals
from .facts import Configuration

READY_RPC = "resilient_wsgi_ready"
HOOK = f"rpc:{READY_RPC}"
FAILED_APP_CODE = 22  # UWSGI_FAILED_APP_CODE
FORKBOMB_DELAY = "forkbomb-delay"

Callback = Callable[[], object]


class Supervision:
    """What uWSGI itself offers against failed loads. Made in the master; the workers inherit it."""

    def __init__(self, configuration: Configuration, system: System = SYSTEM) -> None:
        self._configuration = configuration
        self._system = system
        self._can_fail = False
        self._master_trap: Optional[native.ExitTrap] = None
        self._hooked = ""
        self._awake = ""
        # uwsgi.accepting() returns a None that it does not own: before 3.12 each call takes one
        # reference to it away
        self._given_back: List[None] = []

    def __repr__(self) -> str:
        return f"<Supervision {'; '.join(self.status())}>"

    def status(self) -> Tuple[str, ...]:
        """Return in short phrases which mechanisms are in place, and which are missing."""
        hook = (
            self._hooked or f"MISSING: hook-accepting = {HOOK}, so workers without an app do accept"
        )
        code = (
            "code 22"
            if self._can_fail
            else "code 0: the C library or this build of uWSGI does not let us change it"
        )
        awake = (
            self._awake
            or f"MISSING: {FORKBOMB_DELAY} = 0, "
            "so the master may sleep for 2 s when many loads fail at once"
        )
        return (
            hook,
            *([awake] if self._configuration.loads_in_worker() else []),
            f"if no worker ever loads, the instance ends ({code})",
        )

    # The app of a worker

    def has_app(self) -> Optional[bool]:
        """Return whether this worker has an app; None if none is configured, or in no worker."""
        worker = uwsgi.worker_id()
        return self.peer_has_app(worker) if worker else None

    def peer_has_app(self, worker: int) -> Optional[bool]:
        """Return whether a worker has an app, by its number; None if none is configured."""
        if not apps.configured(uwsgi.opt):
            return None
        return bool(uwsgi.workers()[worker - 1]["apps"])

    def load_problem(self) -> str:
        """Return why this worker has no app at all: none was loaded, or what was is not a callable;
        "" if it has one.
        """
        return apps.problem(self._apps(), uwsgi.opt) if uwsgi.worker_id() else ""

    def apps(self) -> int:
        """Return how many apps this worker has."""
        return len(self._apps()) if uwsgi.worker_id() else 0

    def missing_apps(self) -> str:
        """Return which mounts have no app, in a worker that has others; "" if it has all."""
        return apps.missing(self._apps(), uwsgi.opt) if uwsgi.worker_id() else ""

    def _apps(self) -> Tuple[Mapping[str, Any], ...]:
        found: Tuple[Mapping[str, Any], ...] = uwsgi.workers()[uwsgi.worker_id() - 1]["apps"]
        return found

    # The life of a worker

    def respawns(self) -> bool:
        """Return whether there is a master, which starts a worker in the place of one that ends."""
        return bool(uwsgi.masterpid())

    def set_accepting(self, accepts: bool) -> None:
        """Set the flag that `touch-chain-reload` waits for. uWSGI itself sets it before it runs
        `hook-accepting`.
        """
        uwsgi.accepting(1 if accepts else 0)
        self._given_back.append(None)

    def exit_while_starting(self, exit_now: Callback) -> None:
        """Have `exit_now`, which ends this worker, called by the signals that end a worker, until
        uWSGI sets its own handlers, when the load is over.

        Call it after `Server.end_when_signalled`.
        """
        signals.end_while_starting(exit_now)

    def trap_exit(self, callback: Callback) -> Callback:
        """Have `callback` called when uWSGI ends this worker by libc's `exit()`: without an app, if
        `need-app` is set.

        Return a function that takes that away again: call it before the worker serves.
        """
        trap = native.ExitTrap(callback)
        return trap.remove if trap.set() else lambda: None

    def recycle(self, pid: int, *, kill: bool = False) -> None:
        """Send SIGHUP, on which a worker finishes its request and exits, or with `kill` SIGKILL;
        the master starts another one.
        """
        os.kill(pid, signal.SIGKILL if kill else signal.SIGHUP)

    # The instance

    def reload_instance(self) -> None:
        """Do what SIGHUP to the master does."""
        if uwsgi.masterpid():
            os.kill(uwsgi.masterpid(), signal.SIGHUP)

    def reload_harms(self) -> str:
        """Return the option by which the instance has other processes that a reload would end; ""
        if there is none.
        """
        if not uwsgi.masterpid():
            return "no master"
        return next((name for name in uwsgi.opt if apps.OTHER_PROCESSES.match(name)), "")

    def end_instance(self) -> None:
        """Ask the master for a plain stop; its exit code is what `fail_exit_when` has arranged.

        Without a master, just end.
        """
        if not uwsgi.masterpid():  # 0, to which a signal would go to the whole process group
            self._system.exit(FAILED_APP_CODE)
        os.kill(uwsgi.masterpid(), signal.SIGINT)

    # In the master, before the first fork

    def fail_exit_when(self, failed: Callable[[], object], *, need_app: bool = True) -> None:
        """Have the instance end with code 22 if `failed()` is true when the master exits.

        In prefork, at a cold start, this also sets `need-app`, by which a load that fails in the
        master ends it with that code at once: where an app is configured at all.
        """
        master = self._system.getpid()

        def exiting() -> None:
            if self._system.getpid() == master and failed():
                native.exit_again(FAILED_APP_CODE)

        self._master_trap = native.ExitTrap(exiting)
        self._can_fail = self._master_trap.set()
        if need_app and apps.configured(uwsgi.opt) and not self._configuration.loads_in_worker():
            self._can_fail &= native.set_option("need-app", "true")
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
        elif native.set_option(FORKBOMB_DELAY, "0"):
            self._awake = (
                f"{FORKBOMB_DELAY} = 0 (set): the master never sleeps over loads that fail"
            )

    def has_hook(self) -> bool:
        """Return whether uWSGI notifies each worker when its load is over, by `hook-accepting`."""
        return bool(self._hooked) or self._is_hook_configured()

    def leave_to_master(self) -> None:
        """Take away, in a child of the master, what is to happen only when the master exits."""
        if self._master_trap is not None:
            self._master_trap.remove()

    def _hook(self) -> str:
        if self._is_hook_configured():
            return "hook-accepting"
        return "hook-accepting (added)" if native.set_option("hook-accepting", HOOK) else ""

    def _is_hook_configured(self) -> bool:
        last = uwsgi.opt.get("hook-accepting", b"").decode()
        return HOOK in (last, *(native.values("hook-accepting") or ()))
