"""What happened: one frozen dataclass for each thing, counters, and those who want to be told.

Each event is counted and, at its own level, logged in one line through `logging.getLogger("resilient_wsgi.<component>")`.
"""

from __future__ import annotations

import itertools
import logging
import os
from dataclasses import dataclass
from typing import Callable, ClassVar, Dict, Iterator, Tuple, Type

from .guard import Guard


@dataclass(frozen=True)
class Event:
    """Base of all events. `str(event)` is the line that is logged."""

    component: ClassVar[str] = "library"
    level: ClassVar[int] = logging.WARNING
    text: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.text.format(**vars(self))


@dataclass(frozen=True)
class OutboundTimedOut(Event):
    """An outbound exchange was ended by a limit of ours."""

    component: ClassVar[str] = "outbound"
    text: ClassVar[str] = "gave up on {host} in phase {phase} after {elapsed:.2f} s: limit {limit:g} s ({source})"
    host: str
    phase: str
    elapsed: float
    limit: float
    source: str


@dataclass(frozen=True)
class OutboundUnbounded(Event):
    """Report mode: an outbound call ran without a timeout, or longer than the limit that would have held."""

    component: ClassVar[str] = "outbound"
    text: ClassVar[str] = "{site} called {host} {problem} (took {elapsed:.2f} s); mode is report, nothing was done"
    host: str
    site: str
    problem: str
    elapsed: float


@dataclass(frozen=True)
class DescriptorTakenOver(Event):
    """A descriptor was made non-blocking for this process and its children, in the master."""

    component: ClassVar[str] = "stderr"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = "descriptor {fd} ({kind}) cannot block any more: {means}"
    fd: int
    kind: str
    means: str


@dataclass(frozen=True)
class LinesDropped(Event):
    """Lines that found no room on a descriptor, said when there is room again."""

    component: ClassVar[str] = "stderr"
    text: ClassVar[str] = "{lines} lines ({size_bytes} bytes) dropped in {seconds:.1f} s on descriptor {fd}"
    fd: int
    lines: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class ThreadStopped(Event):
    """A background thread ended after it was told to."""

    component: ClassVar[str] = "threads"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = "thread {name!r} stopped in {seconds:.2f} s ({reason})"
    name: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class ThreadAbandoned(Event):
    """A background thread did not end within its grace and was left behind, so that the process could end."""

    component: ClassVar[str] = "threads"
    text: ClassVar[str] = (
        "thread {name!r} did not stop within {grace:.1f} s ({reason}) and was left behind, in\n{stack}\n"
        "it was started in\n{started}"
    )
    name: str
    reason: str
    grace: float
    stack: str
    started: str


@dataclass(frozen=True)
class ThreadHoldsExit(Event):
    """Report mode: a thread that is waited for at the exit, and that would have been left behind after its grace."""

    component: ClassVar[str] = "threads"
    text: ClassVar[str] = (
        "the exit waits for thread {name!r}; mode is report, nothing was done; it stands in\n{stack}\n"
        "it was started in\n{started}"
    )
    name: str
    stack: str
    started: str


@dataclass(frozen=True)
class ThreadFailed(Event):
    """A registered background thread, or one run of a periodic one, ended with an exception."""

    component: ClassVar[str] = "threads"
    level: ClassVar[int] = logging.ERROR
    text: ClassVar[str] = "background thread {name!r} failed: {error}"
    name: str
    error: str


@dataclass(frozen=True)
class GhostThread(Event):
    """A thread was started before the fork and does not run in this process."""

    component: ClassVar[str] = "threads"
    text: ClassVar[str] = (
        "thread {name!r} does not run in this process: it was started before the fork (THREADS.RESTART starts it anew), in\n"
        "{started}"
    )
    name: str
    started: str


@dataclass(frozen=True)
class ThreadRestarted(Event):
    """A thread that was started before the fork was started anew in this process."""

    component: ClassVar[str] = "threads"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = (
        "thread {name!r} was started before the fork and is started anew; it was started in\n{started}"
    )
    name: str
    started: str


@dataclass(frozen=True)
class ExecutorRevived(Event):
    """An executor that was used before the fork was given new threads in this process."""

    component: ClassVar[str] = "threads"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = (
        "executor of thread {name!r} was used before the fork and has new threads; it was used in\n{started}"
    )
    name: str
    started: str


@dataclass(frozen=True)
class LoadFailed(Event):
    """A worker could not load its app."""

    component: ClassVar[str] = "readiness"
    level: ClassVar[int] = logging.ERROR
    text: ClassVar[str] = "worker {worker} has no app ({error}), attempt {attempt}; next try in {pause:.1f} s"
    worker: int
    error: str
    attempt: int
    pause: float


@dataclass(frozen=True)
class WorkerLeft(Event):
    """A worker ends, so that the master starts a fresh one."""

    component: ClassVar[str] = "readiness"
    text: ClassVar[str] = "worker {worker} (pid {pid}) leaves: {reason}"
    worker: int
    pid: int
    reason: str


@dataclass(frozen=True)
class ClientGone(Event):
    """A request was taken from the queue whose client had hung up; the app was not called."""

    component: ClassVar[str] = "request"
    level: ClassVar[int] = logging.DEBUG
    text: ClassVar[str] = "skipped {method} {path}: its client is gone"
    method: str
    path: str


@dataclass(frozen=True)
class BacklogSmall(Event):
    """A listen queue is shorter than it was asked to be, or than is wise."""

    component: ClassVar[str] = "backlog"
    text: ClassVar[str] = (
        "listen queue of {socket}: asked {asked}, effective {effective} (net.core.somaxconn here: {allowed}). {remedy}"
    )
    socket: str
    asked: int
    effective: int
    allowed: int
    remedy: str


Subscriber = Callable[[Event], object]

_guard = Guard("events")
_subscribers: Tuple[Subscriber, ...] = ()
# next() on a count is one C call: no lock that a fork or a signal handler could find held
_counters: Dict[Type[Event], Iterator[int]] = {}
_counters_pid = 0


def subscribe(callback: Subscriber) -> Callable[[], None]:
    """Have `callback(event)` called for each event, in the thread in which it happens; return a function that ends it.

    Subscribers are called one after the other and must not block. What they raise is caught and logged once a minute.
    """
    global _subscribers
    if not callable(callback):
        msg = f"a subscriber is called with each event; {callback!r} cannot be called"
        raise TypeError(msg)
    _subscribers = (*_subscribers, callback)

    def unsubscribe() -> None:
        global _subscribers
        _subscribers = tuple(s for s in _subscribers if s is not callback)

    return unsubscribe


def emit(event: Event) -> None:
    """Count an event, log it, tell the subscribers. Never raises."""
    with _guard:
        next(_counter(type(event)))
        logger = logging.getLogger(f"resilient_wsgi.{event.component}")
        if logger.isEnabledFor(event.level):
            logger.log(event.level, "%s", event)
    for subscriber in _subscribers:
        with _guard:
            subscriber(event)


def counts() -> Dict[str, int]:
    """Return how many events of each kind there were in this process, by the name of the event's class."""
    if _counters_pid != os.getpid():
        return {}
    # count's only argument in its pickle form is the next number, which is how many there were
    return {kind.__name__: counter.__reduce__()[1][0] for kind, counter in list(_counters.items())}  # type: ignore[index, misc]


def _counter(kind: Type[Event]) -> Iterator[int]:
    global _counters, _counters_pid
    pid = os.getpid()
    if pid != _counters_pid:  # a fork: what the parent counted is the parent's
        _counters, _counters_pid = {}, pid
    return _counters.setdefault(kind, itertools.count())
