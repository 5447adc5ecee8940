"""Events of threads and executors."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Tuple

from .base import Event


@dataclass(frozen=True)
class ThreadStopped(Event):
    """A background thread ended after it was told to."""

    component: ClassVar[str] = "threads"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = "thread '{name}' stopped in {seconds:.2f} s ({reason})"
    name: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class ThreadAbandoned(Event):
    """A background thread did not end within its grace and was left behind, so that the process
    could end.
    """

    component: ClassVar[str] = "threads"
    blocks: ClassVar[Tuple[str, ...]] = ("stack", "started")
    text: ClassVar[str] = (
        "thread '{name}' did not stop within {grace:.1f} s ({reason}) and was left behind, in\n{stack}\n"
        "it was started in\n{started}"
    )
    name: str
    reason: str
    grace: float
    stack: str
    started: str


@dataclass(frozen=True)
class ExitAwaitsWork(Event):
    """A process that is told to end waits for threads and jobs that its requests have started."""

    component: ClassVar[str] = "threads"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = (
        "waiting up to {seconds:.1f} s for work that requests have started ({reason}): {names}"
    )
    names: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class JobsAbandoned(Event):
    """Jobs that requests have put into executors were not finished when the time for them was over."""

    component: ClassVar[str] = "threads"
    text: ClassVar[str] = (
        "{count} jobs that requests have put into executors were not finished within {seconds:.1f} s ({reason}): those that "
        "wait are cancelled. A longer mercy of the server (worker-reload-mercy, graceful_timeout) gives them more time"
    )
    count: int
    reason: str
    seconds: float


@dataclass(frozen=True)
class ThreadHoldsExit(Event):
    """Report mode: a thread that is waited for at the exit, and that would have been left behind
    after its grace.
    """

    component: ClassVar[str] = "threads"
    blocks: ClassVar[Tuple[str, ...]] = ("stack", "started")
    text: ClassVar[str] = (
        "the exit waits for thread '{name}'; mode is report, nothing was done; it stands in\n{stack}\n"
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
    text: ClassVar[str] = "background thread '{name}' failed: {error}"
    name: str
    error: str


@dataclass(frozen=True)
class GhostThread(Event):
    """A thread was started before the fork and does not run in this process."""

    component: ClassVar[str] = "threads"
    blocks: ClassVar[Tuple[str, ...]] = ("started",)
    text: ClassVar[str] = (
        "thread '{name}' does not run in this process: it was started before the fork (THREADS.RESTART starts it anew), in\n"
        "{started}"
    )
    name: str
    started: str


@dataclass(frozen=True)
class ThreadRestarted(Event):
    """A thread that was started before the fork was started anew in this process."""

    component: ClassVar[str] = "threads"
    blocks: ClassVar[Tuple[str, ...]] = ("started",)
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = (
        "thread '{name}' was started before the fork and is started anew; it was started in\n{started}"
    )
    name: str
    started: str


@dataclass(frozen=True)
class ExecutorRevived(Event):
    """An executor that was used before the fork was given new threads in this process."""

    component: ClassVar[str] = "threads"
    blocks: ClassVar[Tuple[str, ...]] = ("started",)
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = (
        "executor of thread '{name}' was used before the fork and has new threads; it was used in\n{started}"
    )
    name: str
    started: str
