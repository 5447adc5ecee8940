"""Whether this worker is ready: its app is loaded, it is not draining, its listen queue is short,
and every readiness check passes.

A check is a function that runs off the request path. It passes when it returns None or True; False
or a text (the reason) fails it, as does an exception, a function that does not return in time, and
any other value. A probe gets the last answer and never waits for a new one.
"""

from __future__ import annotations

import threading
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Optional,
    Tuple,
    TypeVar,
    Union,
    overload,
)

from .. import servers
from ..core.bell import Bell
from ..core.system import SYSTEM, PerProcess, System
from ..core.text import one_line
from ..settings.options import Readiness

if TYPE_CHECKING:
    from ..shm.scoreboard import Scoreboard

Function = Callable[[], Union[bool, str, None]]
_F = TypeVar("_F", bound=Function)

# What can be wrong with an app that was loaded, by the framework's package: asked before a worker
# accepts, where that package was imported. The front doors fill it in.
framework_problems: Dict[str, Callable[[], str]] = {}

TIMEOUT = 2.0
INTERVAL = 10.0
RETRY_INTERVAL = 1.0  # while it does not pass
NOT_YET = "has not run yet"


class WorkerStatus:
    """Whether this worker is ready, and why not."""

    def __init__(self) -> None:
        self.board: Optional[Scoreboard] = None
        self.options = Readiness()
        self._drains_alone = False
        self._has_app = PerProcess(lambda: False)

    def __repr__(self) -> str:
        return f"<WorkerStatus {self.problem() or 'ready'}>"

    def draining(self) -> bool:
        """Return whether the instance is draining."""
        return bool(self._drains_alone if self.board is None else self.board.header.draining)

    def drain(self) -> None:
        """Begin to drain the instance, or, where there is no scoreboard, this process alone."""
        if self.board is None:
            self._drains_alone = True
        else:
            self.board.header.draining = self.board.header.draining or SYSTEM.monotonic()

    def report(self) -> List[Tuple[str, str]]:
        """Return everything that readiness depends on by name, with what is wrong with it, "" if
        nothing is.
        """
        start()
        return [
            ("app", "" if self._app_loaded() else "not loaded"),
            ("draining", "on its way out" if self.draining() else ""),
            ("queue", self._queue()),
            *problems(),
        ]

    def problem(self) -> str:
        """Return all that is wrong in one line, "" if this worker is ready."""
        return "; ".join([f"{name}: {wrong}" for name, wrong in self.report() if wrong])

    def degraded(self) -> str:
        """Return which of its apps a worker that serves others lacks, "" if it has them all."""
        worker = servers.detect().identity().worker
        return self.board.worker(worker).degraded if self.board is not None and worker else ""

    def queue_depth(self) -> int:
        """Return how many connections wait in this server's listen queues, 0 where that is not
        known.
        """
        from ..host import sockets

        return sockets.queue_depth(servers.detect().connections.listening()) or 0

    def _app_loaded(self) -> bool:
        # asked once a process: uWSGI describes all of its workers to say it, and an app that is
        # loaded stays
        if self._has_app.get():
            return True
        supervision = servers.detect().supervision
        loaded = None if supervision is None else supervision.has_app()
        if loaded:
            self._has_app.set(True)
        return loaded is not False

    def _queue(self) -> str:
        limit = self.options.queue_limit
        depth = self.queue_depth() if limit else 0
        return (
            f"{depth} connections wait, QUEUE_LIMIT is {limit}" if limit and depth >= limit else ""
        )


status = WorkerStatus()


def drain() -> None:
    """Have readiness fail in all workers from now on, then have each serve what waits in the listen
    queue and exit.

    Returns at once. Workers keep serving for DRAIN_DELAY, because load balancers need time to
    notice; then each exits as soon as the queue is empty, and its successor serves nothing. The
    instance itself runs until it is asked to stop. Outside uWSGI only the first half is done:
    readiness fails.
    """
    status.drain()


changed = PerProcess(Bell)  # rings when a check of this process has another answer


class _Run:
    """A check in one process: its thread, and the answers that it has got."""

    def __init__(self) -> None:
        self.started = self.stopped = False
        self.began: Optional[float] = None
        self.answer = NOT_YET
        self.wake = Bell()


class Check:
    """A function, how long it may take, how often it runs, and its last answer."""

    def __init__(
        self,
        function: Function,
        name: str,
        timeout: float,
        interval: float,
        system: System = SYSTEM,
    ) -> None:
        self.name = name
        self._function = function
        self._timeout = timeout
        self._interval = interval
        self._system = system
        self._runs = PerProcess(_Run)  # a fork takes no thread along

    def __repr__(self) -> str:
        return f"<Check {self.name}: {self.problem() or 'ready'}>"

    def problem(self) -> str:
        """Return why it does not pass, "" if it does."""
        run = self._runs.get()
        began = run.began
        if began is not None and self._system.monotonic() - began > self._timeout:
            return f"takes longer than {self._timeout:g} s"
        return run.answer

    def start(self) -> None:
        """Run it again and again in a thread of its own, so that one that hangs holds up no
        other.
        """
        run = self._runs.get()
        if not run.started:
            run.started = True
            name = f"readiness check {self.name}"
            threading.Thread(target=self._loop, args=(run,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Stop running it."""
        run = self._runs.get()
        run.started = run.stopped = True
        run.wake.ring()

    def run(self) -> None:
        """Run it once, in this thread."""
        run = self._runs.get()
        run.began, before = self._system.monotonic(), run.answer
        try:
            run.answer = self._read(self._function())
        except Exception as error:
            run.answer = one_line(f"{type(error).__name__}: {error}")
        finally:
            run.began = None
        if run.answer != before:
            changed.get().ring()

    def running(self) -> bool:
        """Return whether its function has been called and has not returned yet."""
        return self._runs.get().began is not None

    def _loop(self, run: _Run) -> None:
        while not run.stopped:
            self.run()
            # sooner while it does not pass: a chain reload may wait for it
            run.wake.wait(min(self._interval, RETRY_INTERVAL) if run.answer else self._interval)

    @staticmethod
    def _read(value: object) -> str:
        if value is None or value is True:
            return ""
        if value is False:
            return "failed"
        if isinstance(value, str):
            return value or "failed"
        return f"returned {value!r:.100}; expected True, None, False or a reason"


_checks: Dict[str, Check] = {}


@overload
def check(function: _F) -> _F: ...
@overload
def check(
    *, name: str = ..., timeout: float = ..., interval: float = ...
) -> Callable[[_F], _F]: ...


def check(
    function: Optional[Function] = None,
    *,
    name: str = "",
    timeout: float = TIMEOUT,
    interval: float = INTERVAL,
) -> Any:
    """Register a readiness check: `@check`, or `@check(name="cache", timeout=1, interval=5)`; times
    are in seconds.

    The function takes no arguments and is called in a thread of its own. A second check with the
    same name (by default the function's) replaces the first. Raises `TypeError` for a coroutine
    function, `ValueError` for times that are not above 0.
    """
    if function is None:
        return lambda decorated: _register(decorated, name, timeout, interval)
    return _register(function, name, timeout, interval)


def _register(function: _F, name: str, timeout: float, interval: float) -> _F:
    if not callable(function) or getattr(getattr(function, "__code__", None), "co_flags", 0) & 0x80:
        msg = f"a readiness check must be a plain function without arguments, got {function!r}"
        raise TypeError(msg)
    if not (timeout > 0 and interval > 0):
        msg = (
            "timeout and interval of a readiness check must be above 0, "
            f"got {timeout!r} and {interval!r}"
        )
        raise ValueError(msg)
    name = name or getattr(function, "__name__", repr(function))
    forget(name)
    _checks[name] = Check(function, name, timeout, interval)
    return function


def forget(name: str) -> None:
    """Remove a check; an unknown name is no error."""
    gone = _checks.pop(name, None)
    if gone is not None:
        gone.stop()


def start() -> None:
    """Run all checks in this process, in the background. Cheap once they run."""
    for each in list(_checks.values()):
        each.start()


def problems() -> List[Tuple[str, str]]:
    """Return the name of each check and why it does not pass, "" if it does."""
    return [(each.name, each.problem()) for each in list(_checks.values())]


def passed() -> bool:
    """Return whether all checks pass."""
    return not any(problem for _, problem in problems())


def running() -> bool:
    """Return whether a check runs just now: one that hangs is overdue at some time."""
    return any(each.running() for each in list(_checks.values()))
