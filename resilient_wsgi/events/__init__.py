"""What happened: one frozen dataclass for each thing, counters, and those who want to be told.

Each event is counted and, at its own level, logged in one line through
`logging.getLogger("resilient_wsgi.<component>")`.
"""

from __future__ import annotations

import itertools
import os
from typing import Callable, Dict, Iterator, Tuple, Type

from ..core.guard import Guard
from ..core.log import named
from .base import Event
from .requests import (
    ClientGone,
    ClientLeft,
    RequestOverdue,
    RequestShed,
    RequestSlow,
    SheddingBegan,
    SheddingEnded,
    WorkerKilled,
    WorkerRecycled,
)
from .threads import (
    ExecutorRevived,
    ExitAwaitsWork,
    GhostThread,
    JobsAbandoned,
    ThreadAbandoned,
    ThreadFailed,
    ThreadHoldsExit,
    ThreadRestarted,
    ThreadStopped,
)
from .waits import (
    BacklogSmall,
    DescriptorTakenOver,
    LinesDropped,
    OutboundTimedOut,
    OutboundUnbounded,
)
from .workers import AppsMissing, InstanceEnded, LoadFailed, PeerStuck, WorkerLeft, WorkerLoaded

__all__ = [
    "AppsMissing",
    "BacklogSmall",
    "ClientGone",
    "ClientLeft",
    "DescriptorTakenOver",
    "Event",
    "ExecutorRevived",
    "ExitAwaitsWork",
    "GhostThread",
    "InstanceEnded",
    "JobsAbandoned",
    "LinesDropped",
    "LoadFailed",
    "OutboundTimedOut",
    "OutboundUnbounded",
    "PeerStuck",
    "RequestOverdue",
    "RequestShed",
    "RequestSlow",
    "SheddingBegan",
    "SheddingEnded",
    "ThreadAbandoned",
    "ThreadFailed",
    "ThreadHoldsExit",
    "ThreadRestarted",
    "ThreadStopped",
    "WorkerKilled",
    "WorkerLeft",
    "WorkerLoaded",
    "WorkerRecycled",
    "counts",
    "emit",
    "subscribe",
    "tell",
]

Subscriber = Callable[[Event], object]

_guard = Guard("events")
_subscribers: Tuple[Subscriber, ...] = ()
# next() on a count is one C call: no lock that a fork or a signal handler could find held
_counters: Dict[Type[Event], Iterator[int]] = {}
_counters_pid = 0


def subscribe(callback: Subscriber) -> Callable[[], None]:
    """Have `callback(event)` called for each event, in the thread in which it happens; return a
    function that ends it.

    Subscribers are called one after the other and must not block. What they raise is caught and
    logged once a minute.
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
        named(event.component).log(event.level, "%s", event)
    tell(event)


def tell(event: Event) -> None:
    """Do the same without logging it, for who has said it himself and may not wait for a handler's
    lock.
    """
    with _guard:
        next(_counter(type(event)))
    for subscriber in _subscribers:
        with _guard:
            subscriber(event)


def counts() -> Dict[str, int]:
    """Return how many events of each kind there were in this process, by the name of the event's
    class.
    """
    if _counters_pid != os.getpid():
        return {}
    # a count shows its next number, which is how many there were, only as `count(12)`; its pickle
    # form goes with 3.14
    return {
        kind.__name__: int(repr(counter)[len("count(") : -1])
        for kind, counter in list(_counters.items())
    }


def _counter(kind: Type[Event]) -> Iterator[int]:
    global _counters, _counters_pid
    pid = os.getpid()
    if pid != _counters_pid:  # a fork: what the parent counted is the parent's
        _counters, _counters_pid = {}, pid
    return _counters.setdefault(kind, itertools.count())
