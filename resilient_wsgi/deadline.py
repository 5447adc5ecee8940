"""How much time is left: what inbound requests and outbound calls share.

A deadline is a point on the monotonic clock, carried in a context variable; `remaining()` returns
what is left of it. A wait that can be ended from another thread is registered with
`interruptible()`; the watchdog of requests ends it when time is up.
"""

from __future__ import annotations

import math
import threading
from contextlib import ContextDecorator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Callable, Dict, Optional, Type, TypeVar

from .core.system import SYSTEM, System
from .errors import DeadlineExceeded

_F = TypeVar("_F", bound=Callable[..., Any])

# a set, in the order of their beginning: one step for the interpreter to add to, and made in half
# the time of a set
Waits = Dict["Interruptible", None]


class Interruptible:
    """One wait: made by `deadline.interruptible()`, used once as a context manager.

    `str(doing)` names what is waited for, `interrupted` is whether it was ended from outside.
    The lock makes the exit from the block wait for a `callback` that is running: after it, the
    socket is the pool's. Without it, the block could exit between the watchdog's check and its
    call; and a wait that was ended could be closed while `shutdown` is on its way to the kernel,
    with the number of a descriptor that is another one's by then.
    """

    __slots__ = ("_armed", "_callback", "_lock", "_waits", "doing", "interrupted")

    def __init__(
        self, callback: Callable[[], object], doing: object, waits: Optional[Waits]
    ) -> None:
        self.doing = doing
        self.interrupted = False
        self._callback = callback
        self._waits = waits
        self._lock = threading.Lock()
        self._armed = False

    def __enter__(self) -> Interruptible:  # noqa: PYI034 - typing.Self is newer than 3.9
        return self.arm()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.disarm()

    def arm(self) -> Interruptible:
        """Begin the wait, where `with` does not fit: `disarm()` ends it."""
        if self._waits is not None:
            self._armed = True
            self._waits[self] = None
        return self

    def disarm(self) -> bool:
        """End the wait: `callback` is not called from here on. Return whether it was; then the
        socket is of no more use.
        """
        with self._lock:
            self._armed = False
        if self._waits is not None:
            self._waits.pop(self, None)
        return self.interrupted

    def interrupt(self) -> bool:
        """Call `callback` if the wait is not over; return whether it was. For the watchdog."""
        with self._lock:
            if not self._armed:
                return False
            self._armed = False
            self.interrupted = True
            try:
                self._callback()
            except Exception:  # closed in the meantime: the wait has ended by itself
                return True
            return True

    def __repr__(self) -> str:
        state = "interrupted" if self.interrupted else "armed" if self._armed else "over"
        return f"<Interruptible {str(self.doing)!r} {state}>"


class Deadline:
    """A point in time on the monotonic clock, and who set it.

    `at` is in seconds of `time.monotonic()`, `limit` are the seconds that were granted, `source`
    names who granted them, in the messages of what it ends. `finished` is set once the block or the
    request that it was set for is over: from then on it limits nothing, not even in a thread or
    task that has copied the context. `outer` is the deadline around it.
    """

    __slots__ = ("_system", "at", "finished", "limit", "outer", "source", "waits")

    of_request = False
    name = ""  # of the request: its method and path
    enforced = True

    def __init__(self, at: float, limit: float, source: str, system: System = SYSTEM) -> None:
        self.at = at
        self.limit = limit
        self.source = source
        self.finished = False
        self.outer: Optional[Deadline] = None
        # waits that can be ended from another thread; a request shares them with the limits in it
        self.waits: Waits = {}
        self._system = system

    @classmethod
    def after(
        cls, seconds: float, source: str = "deadline.limit", system: System = SYSTEM
    ) -> Deadline:
        """Return the deadline that is `seconds` from now.

        Raises `ValueError` for a negative number or NaN.
        """
        if not seconds >= 0:  # also catches NaN
            msg = f"deadline must be >= 0 seconds, got {seconds!r}"
            raise ValueError(msg)
        return cls(system.monotonic() + seconds, seconds, source, system)

    def remaining(self) -> float:
        """Return the seconds left: 0 or less once it has passed."""
        return self.at - self._system.monotonic()

    def check(self, doing: str = "the work") -> None:
        """Raise `DeadlineExceeded` if it has passed."""
        if self.remaining() <= 0:
            msg = f"no time left for {doing}: limit {self.limit:g} s ({self.source})"
            raise DeadlineExceeded(msg)

    def extend(self, seconds: float) -> None:
        """Move it to `seconds` from now if that is later; no-op for any but a request's."""

    def __repr__(self) -> str:
        return f"<Deadline in {self.remaining():.3f} s, limit {self.limit:g} s ({self.source})>"


# the innermost deadline, finished or not: contexts are copied, and a copy keeps what it has
CURRENT: ContextVar[Optional[Deadline]] = ContextVar("resilient_wsgi.deadline", default=None)


def current() -> Optional[Deadline]:
    """Return the deadline in force here, the earliest of those around, or None.

    There is none outside of requests, nor in a thread or task that has copied the context of a
    request that is over.
    """
    return in_force(CURRENT.get())


def in_request() -> bool:
    """Return whether this code runs for a request: called by the app that `wrap()` or Django
    serves.

    True with and without a deadline, in the response's iteration and `close()`, and in threads and
    tasks that have copied the request's context, until the request is over. False anywhere else: in
    management commands, Celery tasks, the app's own threads, and in forked child processes.
    """
    return request_of(CURRENT.get()) is not None


def in_force(scope: Optional[Deadline]) -> Optional[Deadline]:
    """Return the earliest deadline of a scope and those around it, None where there is none."""
    found: Optional[Deadline] = None
    while scope is not None:
        earlier = scope.at < (math.inf if found is None else found.at)
        if earlier and scope.enforced and not scope.finished:
            found = scope
        scope = scope.outer
    return found


def request_of(scope: Optional[Deadline]) -> Optional[Deadline]:
    """Return the request that a scope belongs to, None outside of requests and once it is over."""
    while scope is not None and (scope.finished or not scope.of_request):
        scope = scope.outer
    return scope


def _waits_here() -> Optional[Waits]:
    """Return where a wait is registered: with the innermost deadline that is not over."""
    scope = CURRENT.get()
    while scope is not None and scope.finished:
        scope = scope.outer
    return None if scope is None else scope.waits


def _extend(seconds: float) -> None:
    scope = CURRENT.get()
    while scope is not None:
        if scope.of_request and not scope.finished:
            scope.extend(seconds)
        scope = scope.outer


def remaining() -> Optional[float]:
    """Return the seconds left until the deadline in force here, at least 0, or None."""
    deadline = current()
    return None if deadline is None else max(0.0, deadline.remaining())


def replace(scope: Optional[Deadline]) -> Optional[Deadline]:
    """Set the innermost deadline, finished or not, and return the one before. For middleware.

    A token of the context variable would not do: a response may be closed in another context than
    it was begun in.
    """
    before = CURRENT.get()
    CURRENT.set(scope)
    return before


def interruptible(callback: Callable[[], object], doing: object = "") -> Interruptible:
    """Return a context manager around a wait that `callback()` ends from another thread: a socket's
    `shutdown`, say.

    If the request's time is up, or its client has gone and that ends requests, `callback` is
    called, at most once and only between `__enter__` and the end of `__exit__`, so that the wait
    ends in an error of its own I/O. `doing` names what is waited for ("api.example.com (body)"): a
    text, or an object whose `str()` is one. Assign to it when that changes.

        shut = functools.partial(sock.shutdown, socket.SHUT_RDWR)
        with deadline.interruptible(shut, "api.example.com (headers)") as wait:
            read()
        if not wait.interrupted:
            pool.put(sock)

    Use one object for one wait: after the block exits, it never touches its socket, even if that
    has been reused. `callback` runs in the watchdog's thread: it must not block, and what it raises
    is ignored. Without a deadline nothing is registered, and `callback` is never called. Entering
    and exiting takes about a microsecond.
    """
    return Interruptible(callback, doing, _waits_here())


def to_pass_on() -> Optional[str]:
    """Return the time left in whole milliseconds, for the header `PASSED_ON`; None without a
    deadline.

    It is a duration, not a point in time, because the clocks of two machines differ.
    """
    left = remaining()
    return None if left is None or left > _PASSED_ON_AT_MOST else str(int(left * 1000))


PASSED_ON = "X-Request-Timeout-Ms"
_PASSED_ON_AT_MOST = 1e6


class limit(ContextDecorator):  # noqa: N801 - reads as a function: `with limit(5):`, `@limit(5)`
    """Limit a block or a function to `seconds`: `with limit(5):` or `@limit(5)`.

    It shortens the deadline in force. With `extend=True` it also extends the request's, as far as
    the server's own limit (harakiri) allows and for the rest of the request, but never beyond an
    outer `limit`. It interrupts nothing: waits that respect deadlines (outbound HTTP, `remaining()`
    in your own code) end in time. Use one object for one block at a time. Raises `ValueError` for a
    negative number or NaN, `TypeError` for a coroutine or generator function, whose body runs after
    the call has returned.
    """

    def __init__(
        self, seconds: float, source: str = "deadline.limit", *, extend: bool = False
    ) -> None:
        Deadline.after(seconds, source)  # a bad number raises here, not at the first use
        self._seconds = seconds
        self._source = source
        self._extend = extend
        self._before: Optional[Deadline] = None
        self._mine: Optional[Deadline] = None

    def _recreate_cm(self) -> limit:
        # ContextDecorator asks for the object of each call: calls of one function may overlap
        return limit(self._seconds, self._source, extend=self._extend)

    def __call__(self, function: _F) -> _F:
        import inspect  # 8 ms, which a process without decorators need not spend

        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            msg = (
                f"limit() cannot decorate {function!r}: its body runs after the call. "
                "Fix: use `with limit(...)` inside it"
            )
            raise TypeError(msg)
        return super().__call__(function)

    def __enter__(self) -> Deadline:
        if self._extend:
            _extend(self._seconds)
        self._mine = mine = Deadline.after(self._seconds, self._source)
        waits = _waits_here()
        if waits is not None:
            mine.waits = waits
        self._before = mine.outer = replace(mine)
        return current() or mine

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        replace(self._before)
        if self._mine is not None:
            self._mine.finished = True
