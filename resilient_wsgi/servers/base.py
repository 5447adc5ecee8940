"""What the library asks of the server it runs in, and the answers of a process without a server."""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING, Callable, NamedTuple, NoReturn, Optional, Set, Tuple

from ..core.guard import Guard
from ..core.system import SYSTEM, PerProcess, System, process_of
from .facts import Configuration, Connections, Harakiri

if TYPE_CHECKING:
    from .uwsgi.supervision import Supervision

Callback = Callable[[], object]

MASTER, WORKER, MULE, SPOOLER, PROCESS = "master", "worker", "mule", "spooler", "process"

_guard = Guard("servers")


class Identity(NamedTuple):
    """Who this process is: its role, its number among the workers (0: not a worker), its pid and
    that of its master.

    `number` is its number among those of its role, 0 if they have none.
    """

    role: str
    worker: int
    pid: int
    master_pid: int
    number: int = 0


class Phase:
    """A point in the life of a process, and what runs there: once in each process, even if several
    threads reach it, and however often.

    There is no lock, which a fork could leave held.
    """

    __slots__ = ("_callbacks", "_here", "_latest_first", "name")

    def __init__(self, name: str, *, latest_first: bool = False, system: System = SYSTEM) -> None:
        self.name = name
        self._latest_first = latest_first
        self._callbacks: Tuple[Callback, ...] = ()
        self._here = PerProcess(_Here, process_of(system))

    def __repr__(self) -> str:
        return f"<Phase {self.name} callbacks={len(self._callbacks)} reached={self.reached}>"

    @property
    def reached(self) -> bool:
        """Whether this process has come to this point."""
        return self._here.get().reached

    def add(self, callback: Callback) -> None:
        """Run `callback` at this point, at once if this process is past it.

        Adding it twice is adding it once.
        """
        if callback not in self._callbacks:
            self._callbacks = (*self._callbacks, callback)
        if self.reached:
            self._call(callback)

    def remove(self, callback: Callback) -> None:
        """Take a callback away; one that is not there is no error."""
        self._callbacks = tuple(each for each in self._callbacks if each != callback)
        self._here.get().run.discard(callback)

    def reach(self) -> None:
        """Note that this process has come to this point, and run what has not run in it yet.

        What raises is logged.
        """
        self._here.get().reached = True
        for callback in reversed(self._callbacks) if self._latest_first else self._callbacks:
            self._call(callback)

    def _call(self, callback: Callback) -> None:
        run = self._here.get().run
        if callback in run:
            return
        run.add(callback)
        with _guard:
            callback()


class _Here:
    """How far this process is: what ran in the master has not run in the worker."""

    reached = False

    def __init__(self) -> None:
        self.run: Set[Callback] = set()


class Hooks:
    """The points in the life of a server's process at which the library does something.

    `child`: in each child of the master after the fork, worker or not, before anything else of
    ours. `start`: in each worker after the fork, before requests. `loaded`: in each worker when its
    load is over, well or badly, before it accepts anything (only uWSGI has that point, with
    `hook-accepting`). `ready`: in each worker when its app is loaded, before requests if the server
    lets us. `serving`: in each worker as soon as it is known to be one that will serve, at the
    latest with its first request. `stop`: when the worker ends in an orderly way, the latest added
    first; not after SIGKILL, harakiri, or out of memory.
    """

    def __init__(self, system: System) -> None:
        self.child = Phase("child", system=system)
        self.start = Phase("start", system=system)
        self.loaded = Phase("loaded", system=system)
        self.ready = Phase("ready", system=system)
        self.serving = Phase("serving", system=system)
        self.stop = Phase("stop", latest_first=True, system=system)

    def __repr__(self) -> str:
        return f"<Hooks {self._all()}>"

    def forget(self, callback: Callback) -> None:
        """Take a callback away from every point."""
        for phase in self._all():
            phase.remove(callback)

    def _all(self) -> Tuple[Phase, ...]:
        return self.child, self.start, self.loaded, self.ready, self.serving, self.stop


class Server:
    """A process without a server: base and fallback of the others."""

    name = "plain"
    # whether a process of this server may end by `exit()`: the server replaces it
    may_exit = False
    configuration = Configuration()
    connections = Connections()
    harakiri = Harakiri()
    supervision: Optional[Supervision] = None  # what only uWSGI offers for readiness

    def __init__(self, system: System = SYSTEM) -> None:
        self._system = system
        self.hooks = Hooks(system)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identity()}>"

    # Who this process is, and how far it has come

    def identity(self) -> Identity:
        """Return who this process is."""
        return Identity(PROCESS, 0, self._system.getpid(), 0)

    def is_first_worker(self) -> bool:
        """Return whether this is the worker that speaks for all of the instance at its start."""
        return True

    def is_first_interpreter(self) -> bool:
        """Return whether this is the first interpreter of its process, the only one in which the
        server calls hooks.
        """
        return True

    def interpreter_number(self) -> int:
        """Return the number of this interpreter among those of its process, 0 for the first."""
        return 0

    def forked_by_app(self) -> bool:
        """Return whether the app forked this process from one of the server's, which itself knows
        nothing of it.
        """
        return False

    def reloaded(self) -> bool:
        """Return whether this is an instance that goes on, as a new program, with the pid that it
        had before.
        """
        return False

    def started(self) -> None:
        """Note that this worker has started.

        Called by the server's own hooks, any number of times.
        """
        self.hooks.child.reach()
        self.hooks.start.reach()

    def ready(self) -> None:
        """Note that this worker has its app, and will serve.

        Cheap once it has been called in a process: middleware calls it for each request.
        """
        hooks = self.hooks
        if not hooks.ready.reached:
            hooks.start.reach()
            hooks.ready.reach()  # before `serving`: its callbacks may ask whether the load is over
            hooks.serving.reach()

    def load_is_over(self) -> bool:
        """Return whether what this worker serves is loaded, as far as that is known."""
        return self.hooks.ready.reached

    def stopping(self) -> None:
        """Run what is to run when the worker ends."""
        self.hooks.stop.reach()

    # Whose code is at work

    def is_server_code(self, _path: str) -> bool:
        """Return whether a file is the server's own code: threads that it starts, it also ends."""
        return False

    def calls_app(self, _code: CodeType) -> Optional[bool]:
        """Return whether a function of the server calls the app for a request or task (True) or to
        load it (False).

        None for every other function.
        """
        return None

    def serving(self) -> bool:
        """Return whether code that runs now in a thread that is not `threading`'s belongs to a
        request or task, not to the load.
        """
        return False

    def work_begins(self) -> None:
        """Note that a request of this process has started work in the background.

        Cheap: called for each piece of work.
        """

    # How this process ends

    def end_when_signalled(self) -> None:
        """Have this worker end on a signal where the server itself would lose the signal."""

    def mercy(self) -> Optional[float]:
        """Return how long this process, asked to exit now, has until it is killed from outside;
        None if nothing kills it.
        """
        return None

    def waits_for_threads(self) -> bool:
        """Return whether this process, without the library, would wait at exit for threads that its
        work has started.
        """
        return True

    def set_kill_timer(self, _seconds: int) -> bool:
        """Have this worker killed from outside unless it is gone within `seconds`; 0 cancels that.

        Return whether the server can do it.
        """
        return False

    def drain(self) -> bool:
        """Have this worker take no more requests, and end when those that run are done; return
        whether the server can do it.

        Only if the server replaces a worker that ends. A request that never ends holds it up:
        `exit` does not wait.
        """
        return False

    def exit(self) -> NoReturn:
        """End this process at once, so that the master starts another; runs no exit handlers."""
        self._system.exit(1)
        raise AssertionError  # a test's System may return
