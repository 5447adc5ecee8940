"""The events of threads, workers and their apps, a frozen record each: see `base`."""

from __future__ import annotations

import logging
from typing import Literal, Tuple

from .base import Event, Words

MOST_NAMES = 10

StuckBy = Literal["loading", "no_app"]
NextTry = Literal["paused", "last", "waits", "at_reload", "dry_run"]
PAUSED: NextTry = "paused"
LAST: NextTry = "last"
WAITS: NextTry = "waits"
AT_RELOAD: NextTry = "at_reload"
DRY_RUN: NextTry = "dry_run"
_NEXT_TRY = {
    PAUSED: "next try in %(pause).1f s",
    LAST: "that was the last try",
    WAITS: "next try in %(pause).1f s, unless the other workers use up their tries before: that "
    "ends the instance",
    AT_RELOAD: "next try at the next reload of the instance",
    DRY_RUN: "it stays and answers 500 (dry run)",
}


# -- threads and executors


class ThreadStopped(Event):
    """A background thread ended after it was asked to stop."""

    component = "threads"
    code = "RW501"
    level = logging.INFO
    template = "thread '%(name)s' stopped in %(seconds).2f s (%(reason)s)"
    name: str
    reason: str
    seconds: float


class ThreadAbandoned(Event):
    """A background thread did not end within its grace and was left behind, so that the process
    could end.
    """

    component = "threads"
    code = "RW502"
    blocks = ("stack", "started")
    template = (
        "thread '%(name)s' did not stop within %(grace).1f s (%(reason)s) and was left behind, in\n"
        "%(stack)s\nit was started in\n%(started)s"
    )
    name: str
    reason: str
    grace: float
    stack: str
    started: str


class ExitAwaitsWork(Event):
    """A process that was asked to stop waits for `threads` and `jobs` that its requests started."""

    component = "threads"
    code = "RW503"
    level = logging.INFO
    template = (
        "waiting up to %(seconds).1f s for work that requests have started (%(reason)s): %(work)s"
    )
    threads: Tuple[str, ...]
    jobs: int
    reason: str
    seconds: float

    def _phrases(self) -> Words:
        more = len(self.threads) - MOST_NAMES
        work = [repr(name) for name in self.fields()["threads"][:MOST_NAMES]]
        work += [f"{more} more threads"] if more > 0 else []
        work += [f"{self.jobs} jobs of executors"] if self.jobs else []
        return {"work": ", ".join(work)}


class JobsAbandoned(Event):
    """Jobs that requests have put into executors did not finish in the time that the exit had."""

    component = "threads"
    code = "RW504"
    template = (
        "%(count)d jobs that requests have put into executors were not finished within "
        "%(seconds).1f s (%(reason)s); those not yet running are cancelled. Fix: to give them more "
        "time, raise the server's mercy (worker-reload-mercy, graceful_timeout)"
    )
    count: int
    reason: str
    seconds: float


class ThreadHoldsExit(Event):
    """Dry run: the exit waits for a thread that would have been left behind after its grace."""

    component = "threads"
    code = "RW505"
    blocks = ("stack", "started")
    template = (
        "the exit waits for thread '%(name)s' (dry run, nothing was done), which is in\n%(stack)s\n"
        "it was started in\n%(started)s"
    )
    name: str
    stack: str
    started: str


class ThreadFailed(Event):
    """A registered background thread, or one run of a periodic one, ended with an exception."""

    component = "threads"
    code = "RW506"
    level = logging.ERROR
    template = "background thread '%(name)s' failed: %(error)s"
    name: str
    error: str


class StaleThread(Event):
    """A thread was started before the fork and does not run in this process."""

    component = "threads"
    code = "RW507"
    blocks = ("started",)
    template = (
        "thread '%(name)s' does not run in this process: it was started before the fork. "
        "Fix: name it in THREADS.RESTART to restart it in each worker. It was started in\n"
        "%(started)s"
    )
    name: str
    started: str


class ThreadRestarted(Event):
    """A thread that was started before the fork was restarted in this process."""

    component = "threads"
    code = "RW508"
    blocks = ("started",)
    level = logging.INFO
    template = (
        "thread '%(name)s', started before the fork, was restarted; it was started in\n%(started)s"
    )
    name: str
    started: str


class ExecutorRestarted(Event):
    """An executor that was used before the fork was given new threads in this process."""

    component = "threads"
    code = "RW509"
    blocks = ("started",)
    level = logging.INFO
    template = (
        "executor of thread '%(name)s' was used before the fork and has new threads; it was used "
        "in\n"
        "%(started)s"
    )
    name: str
    started: str


# -- workers and their apps


class LoadFailed(Event):
    """A worker could not load its app."""

    component = "readiness"
    code = "RW601"
    level = logging.ERROR
    template = "worker %(worker)d has no app (%(error)s), attempt %(attempt)d; %(what_next)s"
    label_fields = ("next_try",)
    worker: int
    error: str
    attempt: int
    pause: float
    next_try: NextTry = "paused"

    def _phrases(self) -> Words:
        return {"what_next": _NEXT_TRY[self.next_try] % self.fields()}


class AppsMissing(Event):
    """A worker serves some of its apps; others could not be loaded."""

    component = "readiness"
    code = "RW602"
    level = logging.ERROR
    template = "worker %(worker)d is degraded: %(missing)s (%(why)s); its other apps are served"
    worker: int
    missing: str
    error: str

    def _phrases(self) -> Words:
        return {"why": self.fields()["error"] or "the log says why"}


class WorkerLoaded(Event):
    """A worker has its app, after loads that failed."""

    component = "readiness"
    code = "RW603"
    level = logging.INFO
    template = "worker %(worker)d has its app again, after %(failures)d failed loads"
    worker: int
    failures: int


class PeerStuck(Event):
    """A worker has been stuck without an app for `seconds`, as another worker found."""

    component = "readiness"
    code = "RW604"
    template = "worker %(worker)d (pid %(pid)d) %(is_stuck)s for %(seconds).0f s; %(action)s"
    label_fields = ("problem", "recycled")
    worker: int
    pid: int
    problem: StuckBy
    seconds: float
    recycled: bool

    def _phrases(self) -> Words:
        stuck = {"loading": "loads its app", "no_app": "serves without an app"}
        action = "recycled" if self.recycled else "HEAL_PEERS is off, nothing is done"
        return {"is_stuck": stuck[self.problem], "action": action}


class InstanceEnded(Event):
    """No worker ever had an app, so the whole instance ends."""

    component = "readiness"
    code = "RW605"
    level = logging.CRITICAL
    template = (
        "no worker ever loaded the app (failed tries of each: %(tries)d or more): the instance "
        "ends. Last: %(error)s"
    )
    tries: int
    error: str


class WorkerExited(Event):
    """A worker exits, so that the master starts a new one."""

    component = "readiness"
    code = "RW606"
    template = "worker %(worker)d (pid %(pid)d) exits: %(reason)s"
    label_fields = ("reason",)
    worker: int
    pid: int
    reason: Literal["draining"]
