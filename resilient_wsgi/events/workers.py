"""Events of workers and their apps."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from .base import Event


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
