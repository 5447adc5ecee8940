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
class WorkerLoaded(Event):
    """A worker has its app, after loads that failed."""

    component: ClassVar[str] = "readiness"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = "worker {worker} has its app again, after {failures} failed loads"
    worker: int
    failures: int


@dataclass(frozen=True)
class PeerStuck(Event):
    """A worker was seen to be stuck without an app by another one."""

    component: ClassVar[str] = "readiness"
    text: ClassVar[str] = "worker {worker} (pid {pid}) {problem}; {action}"
    worker: int
    pid: int
    problem: str
    action: str


@dataclass(frozen=True)
class InstanceEnded(Event):
    """No worker ever had an app, so the whole instance ends."""

    component: ClassVar[str] = "readiness"
    level: ClassVar[int] = logging.CRITICAL
    text: ClassVar[str] = (
        "no worker ever loaded the app ({tries} tries or more of each): the instance ends. Last: {error}"
    )
    tries: int
    error: str


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
class ClientLeft(Event):
    """The client of a running request hung up. `interrupted` says how many of its waits were ended for that."""

    component: ClassVar[str] = "request"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = "the client of {method} {path} left after {elapsed:.2f} s; {interrupted} waits ended"
    method: str
    path: str
    elapsed: float
    interrupted: int


@dataclass(frozen=True)
class RequestSlow(Event):
    """A request has run for `SLOW_AFTER`: what it waits for, and the stacks of all threads. Once for each request.

    `stacks` is empty where stacks were written for another request less than a second ago.
    """

    component: ClassVar[str] = "request"
    text: ClassVar[str] = (
        "{method} {path} has run for {elapsed:.2f} s of {limit:g} s (waited {waited:.2f} s in the queue before)"
        "{waiting_for}{stacks}"
    )
    method: str
    path: str
    elapsed: float
    limit: float
    waited: float = 0.0
    waiting_for: str = ""
    stacks: str = ""

    def __str__(self) -> str:
        words = {**vars(self), "waiting_for": f", waiting for {self.waiting_for}" if self.waiting_for else ""}
        return self.text.format(**{**words, "stacks": f"\n{self.stacks}" if self.stacks else ""})


@dataclass(frozen=True)
class RequestOverdue(Event):
    """A request has passed its deadline. `interrupted` says how many of its waits were ended (report mode: could be)."""

    component: ClassVar[str] = "request"
    text: ClassVar[str] = "{method} {path} has passed its deadline of {limit:g} s; {interrupted} waits ended{by}"
    method: str
    path: str
    elapsed: float
    limit: float
    interrupted: int
    by: str = ""


@dataclass(frozen=True)
class WorkerRecycled(Event):
    """A worker with a request that nothing ends takes no more requests, lets the others finish, and is replaced.

    `done` is False where that was only said: in report mode, or because the instance has recycled enough workers lately.
    """

    component: ClassVar[str] = "request"
    level: ClassVar[int] = logging.ERROR
    text: ClassVar[str] = "worker {worker} (pid {pid}) {what}: {method} {path} has run for {elapsed:.1f} s"
    worker: int
    pid: int
    method: str
    path: str
    elapsed: float
    done: bool
    what: str


@dataclass(frozen=True)
class WorkerKilled(Event):
    """Said by a new worker: one before it ended (SIGKILL: harakiri, out of memory; a crash) in the middle of a request."""

    component: ClassVar[str] = "request"
    level: ClassVar[int] = logging.ERROR
    text: ClassVar[str] = (
        "worker {worker} (pid {pid}) was killed in {request} after {elapsed:.1f} s{waiting_for}{stacks}"
    )
    worker: int
    pid: int
    request: str
    elapsed: float
    waiting_for: str = ""
    stacks: str = ""

    def __str__(self) -> str:
        words = {**vars(self), "waiting_for": f", waiting for {self.waiting_for}" if self.waiting_for else ""}
        return self.text.format(**{**words, "stacks": f"\n{self.stacks}" if self.stacks else ""})


@dataclass(frozen=True)
class RequestShed(Event):
    """A request was answered 503 because it had waited too long (report mode: would have been)."""

    component: ClassVar[str] = "request"
    level: ClassVar[int] = logging.DEBUG
    text: ClassVar[str] = (
        "shed {method} {path}: it had waited {waited:.2f} s, {allowed:.2f} s are allowed; {depth} in the queue"
    )
    method: str
    path: str
    waited: float
    allowed: float
    depth: int


@dataclass(frozen=True)
class SheddingBegan(Event):
    """The first request in a while was shed. The others are events of their own, not logged by default."""

    component: ClassVar[str] = "request"
    text: ClassVar[str] = (
        "overloaded: requests that wait longer than {allowed:.2f} s are answered 503 ({depth} in the queue)"
    )
    allowed: float
    depth: int


@dataclass(frozen=True)
class SheddingEnded(Event):
    """No request had to be shed for a while."""

    component: ClassVar[str] = "request"
    text: ClassVar[str] = "overload over: {shed} requests were answered 503 in {seconds:.0f} s"
    shed: int
    seconds: float


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
        logger = logging.getLogger(f"resilient_wsgi.{event.component}")
        if logger.isEnabledFor(event.level):
            # before logging is configured (in the master) a line is printed as it is, without the name of its logger
            logger.log(event.level, "%s" if logger.hasHandlers() else f"{logger.name}: %s", event)
    tell(event)


def tell(event: Event) -> None:
    """Do the same without logging it, for who has said it himself and may not wait for a handler's lock."""
    with _guard:
        next(_counter(type(event)))
    for subscriber in _subscribers:
        with _guard:
            subscriber(event)


def counts() -> Dict[str, int]:
    """Return how many events of each kind there were in this process, by the name of the event's class."""
    if _counters_pid != os.getpid():
        return {}
    # a count shows its next number, which is how many there were, only as `count(12)`; its pickle form goes with 3.14
    return {kind.__name__: int(repr(counter)[len("count(") : -1]) for kind, counter in list(_counters.items())}


def _counter(kind: Type[Event]) -> Iterator[int]:
    global _counters, _counters_pid
    pid = os.getpid()
    if pid != _counters_pid:  # a fork: what the parent counted is the parent's
        _counters, _counters_pid = {}, pid
    return _counters.setdefault(kind, itertools.count())
