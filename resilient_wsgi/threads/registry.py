"""The background threads of this library's users: who they are, how they are told to stop, what
became of each.
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import Dict, Iterator, List, Optional, Tuple

from .. import servers
from ..core.system import SYSTEM, System
from .background import Life, Member


class Stop:
    """Whether this process has been told to stop, why, and since when. The first reason stays."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.event = threading.Event()
        self.reason = ""


class Registry:
    """The threads that `spawn` and `every` have registered, in the order in which they were.

    What is registered survives a fork, the threads themselves do not: they are started anew in each
    child in which they are to run. No locks: a fork could find one held. Dictionary operations are
    atomic and are all that is needed.
    """

    def __init__(self, system: System = SYSTEM) -> None:
        self._system = system
        self._members: Dict[str, Member] = {}
        self._numbers = itertools.count(1)
        self._stop = Stop()

    def __repr__(self) -> str:
        running = sum(member.is_alive() for member in self)
        return f"<Registry {running} of {len(self._members)} running{' stopping' if self.stopping else ''}>"

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    @property
    def process(self) -> Stop:
        """Return what this process has been told; a fork begins untold."""
        if self._stop.pid != os.getpid():
            self._stop = Stop()
        return self._stop

    @property
    def stopping(self) -> bool:
        """Return whether this process has been told to stop."""
        return self.process.event.is_set()

    @property
    def reason(self) -> str:
        """Return why this process stops, empty while it does not."""
        return self.process.reason

    def add(self, member: Member) -> None:
        """Register a thread. Raises `ValueError` if one of that name is there and has not ended."""
        known = self._members.get(member.name)
        if known is not None and not known.ended:
            msg = (
                f"a background thread named {member.name!r} is registered already; give this one another name, or stop "
                f"that one first. It was registered in\n{known.origin}"
            )
            raise ValueError(msg)
        self._members.pop(member.name, None)  # so that the new one stands at the end
        self._members[member.name] = member

    def free_name(self, stem: str) -> str:
        """Return the stem, with a number if a thread of that name is registered."""
        name = stem
        while name in self._members:
            name = f"{stem}-{next(self._numbers)}"
        return name

    def forget(self, member: Member) -> None:
        """Take a member out; its thread is not stopped."""
        if self._members.get(member.name) is member:
            del self._members[member.name]

    def reset(self) -> None:
        """Forget every thread and that the process was told to stop.

        For tests: threads that run are not stopped.
        """
        self._members.clear()
        self._stop = Stop()

    def start_here(self) -> None:
        """Start what was registered in an ancestor of this process and is to run in it."""
        identity = servers.detect().identity()
        for member in self:
            if member.placement.matches(identity) and not member.started_here:
                member.start()

    def tell_process(self, reason: str) -> Stop:
        """Tell this process that it stops; the first reason stays."""
        told = self.process
        if not told.event.is_set():
            told.reason = reason
            told.event.set()
        return told

    def stop(self, reason: str, deadline: float) -> List[Life]:
        """Tell all to stop, one group after the other, the latest registered first; return those
        still running.

        `deadline` is a time of the monotonic clock. Each group is waited for before the next is
        told, but a group that does not end leaves the later ones their equal share of the time.
        """
        groups = self._groups()
        for number, group in enumerate(groups):
            for life in group:
                life.tell(reason)
            now = self._system.monotonic()
            until = now + max(0.0, deadline - now) / (len(groups) - number)
            for life in group:
                life.join(max(0.0, until - self._system.monotonic()))
        for group in groups:  # who was late in its group may have used the others' time
            for life in group:
                life.join(max(0.0, deadline - self._system.monotonic()))
        return [life for group in groups for life in group if life.is_alive()]

    def _groups(self) -> List[List[Life]]:
        groups: Dict[str, List[Life]] = {}
        for member in reversed(list(self)):
            life = member.life
            if life is not None and life.is_alive() and not life.is_current():
                groups.setdefault(member.group, []).append(life)
        return list(groups.values())

    def report(self) -> Tuple[Tuple[str, str], ...]:
        """Return of each registered thread its name and what it does, or did in the end, in words."""
        return tuple((member.name, member.outcome) for member in self)


registry = Registry()


def current_life() -> Optional[Life]:
    """Return the registered thread that calls this, None in any other thread."""
    life: Optional[Life] = getattr(threading.current_thread(), "resilient_wsgi_life", None)
    return life if life is not None and life.pid == os.getpid() else None


class StopEvent:
    """Like a `threading.Event` that is set when the calling thread is to stop: itself, or with its
    whole process.
    """

    def is_set(self) -> bool:
        """Return whether the calling thread is to stop."""
        return self._event().is_set()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until the calling thread is to stop, at most `timeout` seconds; return whether it
        is.
        """
        return self._event().wait(timeout)

    def _event(self) -> threading.Event:
        life = current_life()
        return registry.process.event if life is None else life.event

    def __repr__(self) -> str:
        return f"<StopEvent {'set' if self.is_set() else 'not set'} reason={registry.reason!r}>"


stop_event = StopEvent()


def stopping() -> bool:
    """Return whether the calling thread is to stop: because its process ends, or because it alone
    was told to.
    """
    return stop_event.is_set()


def sleep(seconds: float) -> bool:
    """Sleep, but return at once when told to stop; return whether the calling thread is to stop.

    Raises `ValueError` for a negative time, as `time.sleep` does.
    """
    if seconds < 0:
        msg = f"sleep() takes seconds, 0 or more; got {seconds!r}"
        raise ValueError(msg)
    return stop_event.wait(seconds)
