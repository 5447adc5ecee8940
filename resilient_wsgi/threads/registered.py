"""The registered background threads: how they are started and stopped, and what became of each."""

from __future__ import annotations

import itertools
import threading
from typing import Dict, Iterator, List, Optional, Tuple

from .. import servers
from ..core.system import SYSTEM, PerProcess, System
from .background import BackgroundThread, Run, run_of


class Stop:
    """Whether one process has been notified to stop, and why. The first reason stays."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.reason = ""


class Registry:
    """The threads that `spawn` and `every` have registered, in that order.

    Registrations survive a fork, running threads do not: each child starts those that run in it.
    There is no lock, which a fork could leave held: dictionary operations are atomic, and are all
    that is needed.
    """

    def __init__(self, system: System = SYSTEM) -> None:
        self._system = system
        self._threads: Dict[str, BackgroundThread] = {}
        self._numbers = itertools.count(1)
        self._stop = PerProcess(Stop)

    def __repr__(self) -> str:
        running = sum(thread.is_alive() for thread in self)
        stopping = " stopping" if self.stopping else ""
        return f"<Registry {running} of {len(self._threads)} running{stopping}>"

    def __iter__(self) -> Iterator[BackgroundThread]:
        return iter(list(self._threads.values()))

    def __len__(self) -> int:
        return len(self._threads)

    def __getitem__(self, name: str) -> BackgroundThread:
        return self._threads[name]

    @property
    def process(self) -> Stop:
        """Return whether this process was notified to stop; a forked child begins without."""
        return self._stop.get()

    @property
    def stopping(self) -> bool:
        """Return whether this process has been notified to stop."""
        return self.process.event.is_set()

    @property
    def reason(self) -> str:
        """Return why this process stops, empty while it does not."""
        return self.process.reason

    def add(self, thread: BackgroundThread) -> None:
        """Register a thread. Raises `ValueError` if one of that name has not ended."""
        known = self._threads.get(thread.name)
        if known is not None and not known.ended:
            msg = (
                f"a background thread named {thread.name!r} is registered already: use another "
                f"name, or stop that one first. It was registered in\n{known.origin}"
            )
            raise ValueError(msg)
        self._threads.pop(thread.name, None)  # so that the new one is last
        self._threads[thread.name] = thread

    def free_name(self, stem: str) -> str:
        """Return the stem, with a number if a thread of that name is registered."""
        name = stem
        while name in self._threads:
            name = f"{stem}-{next(self._numbers)}"
        return name

    def forget(self, thread: BackgroundThread) -> None:
        """Remove a registration; the thread is not stopped."""
        if self._threads.get(thread.name) is thread:
            del self._threads[thread.name]

    def reset(self) -> None:
        """Forget every thread, and that the process was notified to stop.

        For tests: running threads are not stopped.
        """
        self._threads.clear()
        self._stop.clear()

    def start_here(self) -> None:
        """Start the threads that an ancestor of this process registered and that run in it."""
        identity = servers.detect().identity()
        for thread in self:
            if thread.placement.matches(identity) and not thread.started_here:
                thread.start()

    def notify_process(self, reason: str) -> Stop:
        """Note that this process stops; the first reason stays."""
        stop = self.process
        if not stop.event.is_set():
            stop.reason = reason
            stop.event.set()
        return stop

    def stop(self, reason: str, deadline: float) -> List[Run]:
        """Notify all threads to stop, group by group, the latest first; return those still running.

        `deadline` is a time of the monotonic clock. Each group is waited for before the next is
        notified, but a group that does not end leaves the later ones their equal share of the time.
        """
        groups = self._groups()
        for number, group in enumerate(groups):
            for run in group:
                run.notify(reason)
            now = self._system.monotonic()
            until = now + max(0.0, deadline - now) / (len(groups) - number)
            for run in group:
                run.join(max(0.0, until - self._system.monotonic()))
        for group in groups:  # those that were late may use the time that others have left
            for run in group:
                run.join(max(0.0, deadline - self._system.monotonic()))
        return [run for group in groups for run in group if run.is_alive()]

    def _groups(self) -> List[List[Run]]:
        groups: Dict[str, List[Run]] = {}
        for thread in reversed(list(self)):
            run = thread.run_here
            if run is not None and run.is_alive() and not run.is_current():
                groups.setdefault(thread.group, []).append(run)
        return list(groups.values())

    def report(self) -> Tuple[Tuple[str, str], ...]:
        """Return name and outcome, in words, of each registered thread."""
        return tuple((thread.name, thread.outcome) for thread in self)


registry = Registry()


def current_run() -> Optional[Run]:
    """Return the run of the registered thread that calls this, None in any other thread."""
    run = run_of(threading.current_thread())
    return run if run is not None and run.belongs_here() else None


class StopEvent:
    """Like a `threading.Event` that is set when the calling thread must stop: it or its process."""

    def is_set(self) -> bool:
        """Return whether the calling thread must stop."""
        return self._event().is_set()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait up to `timeout` seconds until this thread must stop; return whether it must."""
        return self._event().wait(timeout)

    def _event(self) -> threading.Event:
        run = current_run()
        return registry.process.event if run is None else run.event

    def __repr__(self) -> str:
        state = "set" if self.is_set() else "not set"
        return f"<StopEvent {state} reason={registry.reason!r}>"


stop_event = StopEvent()


def stopping() -> bool:
    """Return whether the calling thread must stop: it alone, or because its process ends."""
    return stop_event.is_set()


def sleep(seconds: float) -> bool:
    """Sleep, but return at once if notified to stop; return whether the calling thread must stop.

    Raises `ValueError` for a negative time, as `time.sleep` does.
    """
    if seconds < 0:
        msg = f"sleep() takes seconds, 0 or more; got {seconds!r}"
        raise ValueError(msg)
    return stop_event.wait(seconds)
