"""Events of requests and of the worker that serves them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Tuple, Union

from .base import Event


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
    """The client of a running request hung up.

    `interrupted` says how many of its waits were ended for that.
    """

    component: ClassVar[str] = "request"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = "the client of {method} {path} left after {elapsed:.2f} s; {ended}"
    method: str
    path: str
    elapsed: float
    interrupted: int

    def words(self) -> Dict[str, Any]:
        """Return the fields, and in words how many waits were ended."""
        return {**super().words(), "ended": _waits(self.interrupted) or "no wait was ended"}


@dataclass(frozen=True)
class RequestSlow(Event):
    """A request has run for `SLOW_AFTER`: what it waits for, and the stacks of all threads.

    Once for each request.

    `stacks` is empty where stacks were written for another request less than a second ago.
    """

    component: ClassVar[str] = "request"
    blocks: ClassVar[Tuple[str, ...]] = ("stacks",)
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
        return _with_stacks(self)


@dataclass(frozen=True)
class RequestOverdue(Event):
    """A request has passed its deadline.

    `interrupted` says how many of its waits were ended (report mode: could be).
    """

    component: ClassVar[str] = "request"
    text: ClassVar[str] = "{method} {path} has passed its deadline of {limit:g} s; {ended}{by}"
    method: str
    path: str
    elapsed: float
    limit: float
    interrupted: int
    by: str = ""
    done: bool = True

    def words(self) -> Dict[str, Any]:
        """Return the fields, and in words how many waits were ended."""
        ended = (
            (_waits(self.interrupted) or "no wait could be ended")
            if self.done
            else "mode is report, nothing was done"
        )
        return {**super().words(), "ended": ended}


@dataclass(frozen=True)
class WorkerRecycled(Event):
    """A worker with a request that nothing ends takes no more requests, lets the others finish, and
    is replaced.

    `done` is False where that was only said: in report mode, or because the instance has recycled
    enough workers lately.
    """

    component: ClassVar[str] = "request"
    level: ClassVar[int] = logging.ERROR
    text: ClassVar[str] = (
        "worker {worker} (pid {pid}) {what}: {method} {path} has run for {elapsed:.1f} s; its limit of {limit:g} s "
        "(REQUEST.TIMEOUT or PATHS) and {grace:g} s more (GRACE) are over. Fix: if it may take longer, raise that limit"
    )
    worker: int
    pid: int
    method: str
    path: str
    elapsed: float
    done: bool
    what: str
    limit: float
    grace: float


@dataclass(frozen=True)
class WorkerKilled(Event):
    """Said by a new worker: one before it ended (SIGKILL: harakiri, out of memory; a crash) in the
    middle of a request.
    """

    component: ClassVar[str] = "request"
    blocks: ClassVar[Tuple[str, ...]] = ("stacks",)
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
        return _with_stacks(self)


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
    """The first request in a while was shed.

    The others are events of their own, not logged by default.
    """

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


def _waits(ended: int) -> str:
    return f"{ended} wait{'s' if ended > 1 else ''} ended" if ended else ""


def _with_stacks(event: Union[RequestSlow, WorkerKilled]) -> str:
    words = event.words()
    words["waiting_for"] = f", waiting for {words['waiting_for']}" if event.waiting_for else ""
    words["stacks"] = f"\n{words['stacks']}" if event.stacks else ""
    return event.text.format(**words)
