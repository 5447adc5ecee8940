"""Events of workers and their apps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from .base import Event

# when the load is tried again
PAUSED, LAST, WAITS, AT_RELOAD, REPORTED = "paused", "last", "waits", "at reload", "reported"
NEXT_TRY = {
    PAUSED: "next try in {pause:.1f} s",
    LAST: "that was the last try",
    WAITS: "next try in {pause:.1f} s, unless the other workers use up their tries before: that ends the instance",
    AT_RELOAD: "next try at the next reload of the instance",
    REPORTED: "it stays and answers 500 (mode is report)",
}


@dataclass(frozen=True)
class LoadFailed(Event):
    """A worker could not load its app."""

    component: ClassVar[str] = "readiness"
    level: ClassVar[int] = logging.ERROR
    text: ClassVar[str] = "worker {worker} has no app ({error}), attempt {attempt}; "
    worker: int
    error: str
    attempt: int
    pause: float
    next_try: str = PAUSED

    def __str__(self) -> str:
        return super().__str__() + NEXT_TRY[self.next_try].format(pause=self.pause)


@dataclass(frozen=True)
class AppsMissing(Event):
    """A worker serves some of its apps; others could not be loaded."""

    component: ClassVar[str] = "readiness"
    level: ClassVar[int] = logging.ERROR
    text: ClassVar[str] = (
        "worker {worker} is degraded: {missing} ({error}); its other apps are served"
    )
    worker: int
    missing: str
    error: str


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
        "no worker ever loaded the app (failed tries of each: {tries} or more): the instance ends. Last: {error}"
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
