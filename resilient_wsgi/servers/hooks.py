"""What is to be run when a worker starts, is ready, and stops: once in each process, whatever calls
it and how often.
"""

from __future__ import annotations

from typing import Callable, Dict, Tuple

from ..core.guard import Guard
from ..core.system import SYSTEM, System

Callback = Callable[[], object]

_guard = Guard("servers")


class Phase:
    """A point in the life of a process, and what is to be run there.

    State is keyed on the pid, because uWSGI forks without running Python's fork callbacks: what ran
    in the master has not run in the worker. No lock: a fork could find it held.
    """

    __slots__ = ("_callbacks", "_latest_first", "_reached", "_run", "_system", "name")

    def __init__(self, name: str, *, latest_first: bool = False, system: System = SYSTEM) -> None:
        self.name = name
        self._latest_first = latest_first
        self._system = system
        self._callbacks: Tuple[Callback, ...] = ()
        self._run: Dict[Callback, int] = {}
        self._reached = 0

    def __repr__(self) -> str:
        return f"<Phase {self.name} callbacks={len(self._callbacks)} reached={self.reached}>"

    @property
    def reached(self) -> bool:
        """Return whether this process has come to this point."""
        return self._reached == self._system.getpid()

    def add(self, callback: Callback) -> None:
        """Run `callback` at this point, at once if the process is past it already.

        Adding it twice is adding it once.
        """
        if callback not in self._callbacks:
            self._callbacks = (*self._callbacks, callback)
        if self.reached:
            self._call(callback)

    def remove(self, callback: Callback) -> None:
        """Forget a callback; one that is not known is no error."""
        self._callbacks = tuple(c for c in self._callbacks if c != callback)
        self._run.pop(callback, None)

    def reach(self) -> None:
        """Note that this process has come to this point, and run what has not run in it.

        What raises is logged.
        """
        self._reached = self._system.getpid()
        for callback in reversed(self._callbacks) if self._latest_first else self._callbacks:
            self._call(callback)

    def _call(self, callback: Callback) -> None:
        pid = self._system.getpid()
        if self._run.get(callback) == pid:
            return
        self._run[callback] = pid
        with _guard:
            callback()
