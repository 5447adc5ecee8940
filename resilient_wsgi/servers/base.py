"""What the library asks of the server that it runs in, and the answers of a process that is no
server's.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Callable, NoReturn, Optional, Tuple

from ..core.system import SYSTEM, System
from .hooks import Callback, Phase

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HarakiriOf = Callable[["WSGIEnvironment"], Optional[float]]

MASTER, WORKER, MULE, SPOOLER, PROCESS = "master", "worker", "mule", "spooler", "process"


@dataclass(frozen=True)
class Identity:
    """Who this process is: its role, its number among the workers (0: not a worker), its pid and
    that of its master.

    `number` is its number among those of its role, 0 where they have none.
    """

    role: str
    worker: int
    pid: int
    master_pid: int
    number: int = 0


@dataclass(frozen=True)
class Boot:
    """A worker that is about to load its app, in a server that would halt if that fails.

    `notify` tells the server that the worker lives, `wanted` whether it is still to; `exit_code`
    means "start another"; `shows_syntax_errors`: the server shows them to the developer, and loads
    the app again when its files change.
    """

    arbiter: int
    worker: int
    workers: int
    exit_code: int
    notify: Callable[[], object]
    wanted: Callable[[], bool]
    shows_syntax_errors: bool = False


class Server:
    """A process without a server: base and fallback of the others.

    The callbacks run once in each process; one that is added late, after its point has been
    reached, runs at once.
    """

    name = "plain"
    # whether a process of this server may end by `leave()`: somebody wanted its end, and replaces
    # it
    may_leave = False

    def __init__(self, system: System = SYSTEM) -> None:
        self._system = system
        self._child = Phase("child", system=system)
        self._start = Phase("start", system=system)
        self._loaded = Phase("loaded", system=system)
        self._ready = Phase("ready", system=system)
        self._stop = Phase("stop", latest_first=True, system=system)

    def _succeed(self, other: Server) -> None:
        """Take over the callbacks of the server that this process was taken for until now."""
        self._child, self._start, self._loaded = other._child, other._start, other._loaded
        self._ready, self._stop = other._ready, other._stop

    def identity(self) -> Identity:
        """Return who this process is."""
        return Identity(PROCESS, 0, self._system.getpid(), 0)

    def forked_by_app(self) -> bool:
        """Return whether this process was forked by the app in a process of the server, which
        itself knows nothing of it.
        """
        return False

    def on_child_start(self, callback: Callback) -> None:
        """Run `callback` in each child of the master after the fork, worker or not, before anything
        else of ours.
        """
        self._child.add(callback)

    def on_worker_start(self, callback: Callback) -> None:
        """Run `callback` in each worker after the fork, before requests."""
        self._start.add(callback)

    def on_worker_loaded(self, callback: Callback) -> None:
        """Run `callback` in each worker when its load is over, well or badly, and before it accepts
        anything.

        Only where the server has such a point (uWSGI with `hook-accepting`); elsewhere it never
        runs.
        """
        self._loaded.add(callback)

    def on_worker_ready(self, callback: Callback) -> None:
        """Run `callback` in each worker when its app is loaded, before it takes requests where the
        server lets us.
        """
        self._ready.add(callback)

    def on_worker_serving(self, callback: Callback) -> None:
        """Run `callback` in each worker as soon as it is known to be one that will serve.

        Where nothing of the server tells so, with its first request.
        """
        self._ready.add(callback)

    def first_worker(self) -> bool:
        """Return whether this is the worker that speaks for all of the instance: at its start."""
        return True

    def first_interpreter(self) -> bool:
        """Return whether this is the first interpreter of its process, the only one that the server
        knows hooks in.
        """
        return True

    def on_worker_stop(self, callback: Callback) -> None:
        """Run `callback` when the worker ends in an orderly way, the latest added first; not at
        SIGKILL, harakiri, OOM.
        """
        self._stop.add(callback)

    def forget(self, callback: Callback) -> None:
        """Take a callback away again from wherever it was added."""
        for phase in (self._child, self._start, self._loaded, self._ready, self._stop):
            phase.remove(callback)

    def forked(self) -> None:
        """Note that this process is a new one.

        Called by the server's own hooks; calling it again does nothing.
        """
        self._child.reach()

    def started(self) -> None:
        """Note that this worker has started.

        Called by the server's own hooks; calling it again does nothing.
        """
        self._child.reach()
        self._start.reach()

    def ready(self) -> None:
        """Note that this worker has its app.

        Cheap once it has been called in a process: middleware calls it too.
        """
        if not self._ready.reached:
            self._start.reach()
            self._ready.reach()

    def load_is_over(self) -> bool:
        """Return whether what this worker serves is loaded, as far as that is known."""
        return self._ready.reached

    def stopping(self) -> None:
        """Run what is to be run when the worker ends."""
        self._stop.reach()

    def harakiri(self) -> Optional[float]:
        """Return the seconds after which the server kills a worker for one request, None where it
        does not.
        """
        return None

    def kills_after(self) -> Optional[float]:
        """Return the seconds after which the server kills a worker that one request keeps busy, but
        by no harakiri; or None.
        """
        return None

    def harakiri_by_request(self) -> Optional[HarakiriOf]:
        """Return a function that returns the seconds until harakiri for a request that begins,
        infinity where there is none, None where that cannot be known. None if all have the same.
        """
        return None

    def deadline_remedy(self) -> str:
        """Return which settings give requests a deadline here."""
        return "REQUEST.TIMEOUT"

    def harakiri_left(self) -> Optional[float]:
        """Return the seconds until harakiri as things are now, infinity if there is none.

        None where it cannot be known, or is not that of one request alone.
        """
        return None

    def on_harakiri_set(self, callback: Optional[Callback]) -> None:
        """Call `callback` in a thread whose app has set another harakiri; None: no longer."""
        del callback

    def concurrency(self) -> int:
        """Return how many requests may share what the server knows of a worker."""
        return self.threads()

    def threads(self) -> int:
        """Return how many requests one worker works on at a time."""
        return 1

    def loaded(self) -> Optional[bool]:
        """Return whether this worker has an app, None where that cannot be known."""
        return None

    def load_problem(self) -> str:
        """Return what is wrong with what this worker has loaded, in words; empty if nothing is, or
        it cannot be known.
        """
        return ""

    def loads_in_worker(self) -> bool:
        """Return whether each worker loads the app for itself, after the fork."""
        return False

    def workers(self) -> int:
        """Return how many workers there are at most, 0 where that is not known."""
        return 0

    def worker_uid(self) -> Optional[int]:
        """Return the user that workers will be, where this is a master that is root and it is
        known.
        """
        return None

    def has_place(self, kind: str, name: str) -> Optional[bool]:
        """Return whether there is a `worker` or `mule` of this number, or a `farm` of this name;
        None where that is not known.
        """
        del kind, name
        return None

    def in_farm(self, name: str) -> bool:
        """Return whether this process is one of the mules that uWSGI's option `farm` puts under
        this name.
        """
        del name
        return False

    def asked_backlog(self) -> Optional[int]:
        """Return the length of listen queue that the configuration asks for, None where it is not
        known.
        """
        return None

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors of this server."""
        return ()

    def client_fd(self, environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the connection that a request came on, None where it is not
        known.
        """
        del environ
        return None

    def client_may_half_close(self, environ: WSGIEnvironment) -> bool:
        """Return whether a client that has ended its side may still wait for the answer (raw HTTP
        over TCP).
        """
        del environ
        return True

    def all_clients_may_half_close(self) -> bool:
        """Return True where `client_may_half_close` is sure to be True for each request of this
        process.
        """
        return False

    def obey(self) -> None:
        """Have this worker end when it is told to in the cases in which the server itself would
        lose that.
        """

    def leave_while_starting(self, leave: Callable[[], object]) -> None:
        """Have `leave` called, which ends this worker, when it is told to end before it serves.

        To be called after `obey`.
        """
        del leave

    def owns(self, path: str) -> bool:
        """Return whether a file is the server's own code: what threads it starts, it also ends."""
        del path
        return False

    def ignore_sigpipe(self) -> bool:
        """Have a log whose reader is gone mean an error of `write`, not a signal; return whether
        this changed anything.
        """
        return False

    def trap_exit(self, callback: Callback) -> Callback:
        """Have `callback` called when the server's own code ends this process while it loads its
        app.

        Return a function that takes that away again: it must be called before the worker serves.
        """
        del callback
        return lambda: None

    def boot(self) -> Optional[Boot]:
        """Return the boot of this worker, None where a load that fails is seen to by other means,
        or by nobody.
        """
        return None

    def set_accepting(self, accepts: bool) -> None:
        """Say to the server whether this worker counts as one that accepts: a chain reload waits
        until it does.
        """

    def peer_has_app(self, worker: int) -> Optional[bool]:
        """Return whether another worker has an app, by its number; None where that cannot be known."""
        del worker
        return None

    def recycle(self, pid: int, *, kill: bool = False) -> None:
        """Have a worker finish its requests and be started anew; `kill`: at once, for one that does
        not listen.
        """
        del pid, kill

    def fail_exit_when(self, failed: Callable[[], object], *, need_app: bool = True) -> None:
        """Have the server's exit code be one of failure if `failed()` is true then.

        To be called in the master.
        """
        del failed, need_app

    def keep_master_awake(self) -> None:
        """Have the master never sleep because many workers end at once: who ends them paces them.

        To be called in the master.
        """

    def respawns(self) -> bool:
        """Return whether somebody starts a fresh worker in the place of one that ends."""
        return True

    def reloaded(self) -> bool:
        """Return whether this is an instance that runs on, as a new program, with the pid that it
        had before.
        """
        return False

    def reload_instance(self) -> None:
        """Ask the whole server to start anew, gracefully, in place."""

    def reload_harms(self) -> str:
        """Return what else than workers a reload of the instance would end (spoolers, mules,
        daemons); `""` if nothing.
        """
        return ""

    def apps(self) -> int:
        """Return how many apps this worker has, 0 where that is not known."""
        return 0

    def missing_apps(self) -> str:
        """Return which of several apps this worker has not, in words, where it has others; empty if
        it has all.
        """
        return ""

    def readiness_means(self) -> Tuple[str, ...]:
        """Return what of readiness can be had here, and what cannot, in short phrases for
        `status()`.
        """
        return ()

    def mercy(self) -> Optional[float]:
        """Return how long this process, told to end now, has until it is killed from outside; None
        if nothing kills it.
        """
        return None

    def waits_for_threads(self) -> bool:
        """Return whether this process, without the library, would wait at exit for threads started
        by its work.
        """
        return True

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return whether a function of the server calls the app for a request or task (True) or to
        load it (False).

        None for every other function.
        """
        del code
        return None

    def serving(self) -> bool:
        """Return whether code that none of `threading`'s threads runs now belongs to a request or
        task, not to the load.
        """
        return False

    def work_begins(self) -> None:
        """Note that a request of this process has started work in the background.

        Cheap: called for each piece of work.
        """

    def set_fuse(self, seconds: int) -> bool:
        """Have this worker killed from outside unless it is gone within `seconds` (0: no more);
        return whether it can be had.
        """
        del seconds
        return False

    def drain(self) -> bool:
        """Have this worker take no more requests and end when those that run are done; return
        whether that can be had.

        Only where the server replaces a worker that ends. A request that never ends holds it up:
        `leave` does not wait.
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
        """Ask the whole server to end."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identity()}>"
