"""What happened: one frozen record for each kind of event, counted, logged, and passed to
subscribers.

Each event is logged in one line, at its own level, by `logging.getLogger("resilient_wsgi.NAME")`
with the name of its component. The record carries the constant template as `msg`, the values as
`args`, and everything again as a dictionary `resilient_wsgi` (`extra=`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Callable, Dict, Iterator, Tuple, Type

from ..core.guard import Guard
from ..core.lazy import names
from ..core.log import named
from ..core.system import PerProcess

if TYPE_CHECKING:
    from .base import Event
    from .drivers import DriverTimedOut
    from .lifecycle import (
        AppsMissing,
        ExecutorRestarted,
        ExitAwaitsWork,
        InstanceEnded,
        JobsAbandoned,
        LoadFailed,
        PeerStuck,
        StaleThread,
        ThreadAbandoned,
        ThreadFailed,
        ThreadHoldsExit,
        ThreadRestarted,
        ThreadStopped,
        WorkerExited,
        WorkerLoaded,
    )
    from .traffic import (
        BacklogSmall,
        ClientGone,
        ClientLeft,
        DescriptorTakenOver,
        LinesDropped,
        OverloadBegan,
        OverloadEnded,
        RequestOverdue,
        RequestShed,
        RequestSlow,
        WaitEnded,
        WorkerKilled,
        WorkerRecycled,
    )
    from .upstreams import OutboundTimedOut, OutboundUnbounded, UpstreamLimited, UpstreamRecovered

__all__ = [
    "AppsMissing",
    "BacklogSmall",
    "ClientGone",
    "ClientLeft",
    "DescriptorTakenOver",
    "DriverTimedOut",
    "Event",
    "ExecutorRestarted",
    "ExitAwaitsWork",
    "InstanceEnded",
    "JobsAbandoned",
    "LinesDropped",
    "LoadFailed",
    "OutboundTimedOut",
    "OutboundUnbounded",
    "OverloadBegan",
    "OverloadEnded",
    "PeerStuck",
    "RequestOverdue",
    "RequestShed",
    "RequestSlow",
    "StaleThread",
    "ThreadAbandoned",
    "ThreadFailed",
    "ThreadHoldsExit",
    "ThreadRestarted",
    "ThreadStopped",
    "UpstreamLimited",
    "UpstreamRecovered",
    "WaitEnded",
    "WorkerExited",
    "WorkerKilled",
    "WorkerLoaded",
    "WorkerRecycled",
    "counts",
    "emit",
    "publish",
    "subscribe",
]

Subscriber = Callable[["Event"], object]
# those that happen are imported when they do: most processes see none of them
_HOMES = {
    "base": ("Event",),
    "drivers": ("DriverTimedOut",),
    "lifecycle": (
        "AppsMissing",
        "ExecutorRestarted",
        "ExitAwaitsWork",
        "InstanceEnded",
        "JobsAbandoned",
        "LoadFailed",
        "PeerStuck",
        "StaleThread",
        "ThreadAbandoned",
        "ThreadFailed",
        "ThreadHoldsExit",
        "ThreadRestarted",
        "ThreadStopped",
        "WorkerExited",
        "WorkerLoaded",
    ),
    "traffic": (
        "BacklogSmall",
        "ClientGone",
        "ClientLeft",
        "DescriptorTakenOver",
        "LinesDropped",
        "OverloadBegan",
        "OverloadEnded",
        "RequestOverdue",
        "RequestShed",
        "RequestSlow",
        "WaitEnded",
        "WorkerKilled",
        "WorkerRecycled",
    ),
    "upstreams": (
        "OutboundTimedOut",
        "OutboundUnbounded",
        "UpstreamLimited",
        "UpstreamRecovered",
    ),
}
__getattr__ = names(__name__, {name: home for home, found in _HOMES.items() for name in found})


class EventBus:
    """The subscribers, and how many events of each kind this process has seen."""

    def __init__(self) -> None:
        self.guard = Guard("events")
        self.subscribers: Tuple[Subscriber, ...] = ()
        # next() on a count is one C call: no lock that a fork or a signal handler could find held
        self.counters: PerProcess[Dict[Type[Event], Iterator[int]]] = PerProcess(dict)

    def count(self, kind: Type[Event]) -> None:
        """Count an event."""
        next(self.counters.get().setdefault(kind, itertools.count()))


_bus = EventBus()


def subscribe(callback: Subscriber) -> Callable[[], None]:
    """Call `callback(event)` for each event from now on; return a function that ends that.

    It is called in the thread in which the event happens, one subscriber after the other, so it
    must not block. What it raises is caught, and logged once a minute.
    """
    if not callable(callback):
        msg = f"a subscriber is called with each event; {callback!r} cannot be called"
        raise TypeError(msg)
    _bus.subscribers = (*_bus.subscribers, callback)

    def unsubscribe() -> None:
        _bus.subscribers = tuple(s for s in _bus.subscribers if s is not callback)

    return unsubscribe


def emit(event: Event) -> None:
    """Log an event and publish it. Never raises."""
    with _bus.guard:
        logger = named(event.component)
        if logger.isEnabledFor(event.level):
            names = {"event": type(event).__name__, "code": event.code}
            extra = {"resilient_wsgi": {**names, **event.fields()}}
            template = f"[{event.code}] {event.template}" if event.code else event.template
            logger.log(event.level, template, event.arguments(), extra=extra)
    publish(event)


def publish(event: Event) -> None:
    """Count an event and pass it to the subscribers, without logging it. Never raises.

    For callers that have already written the message, or must not wait for a log handler's lock.
    """
    with _bus.guard:
        _bus.count(type(event))
    for subscriber in _bus.subscribers:
        with _bus.guard:
            subscriber(event)


def counts() -> Dict[str, int]:
    """Return how many events of each kind this process has seen, by the name of their class."""
    # a count shows its next number, which is how many there were, only as `count(12)`; its pickle
    # form goes with 3.14
    return {
        kind.__name__: int(repr(counter)[len("count(") : -1])
        for kind, counter in list(_bus.counters.get().items())
    }
