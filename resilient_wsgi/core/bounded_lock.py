"""One thread at a time, and no endless wait: a thread that has waited too long goes on."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import List, Optional, Type

from .system import PerProcess

LONGEST_WAIT = 2.0  # an import lock may be held by who waits, and wanted by who has the turn


class _Held(threading.local):
    """What each thread has taken, the latest last; None for a turn that it did not wait for."""

    def __init__(self) -> None:
        self.locks: List[Optional[threading.RLock]] = []


class Turns:
    """A lock that a thread may take again while it has it, and that no child of a fork finds held.

    Used as `with turns:`.
    """

    def __init__(self, longest_wait: float = LONGEST_WAIT) -> None:
        self._longest_wait = longest_wait
        self._locks = PerProcess(threading.RLock)
        self._mine = PerProcess(_Held)

    def __enter__(self) -> None:
        held, lock = self._mine.get().locks, self._locks.get()
        held.append(lock if lock.acquire(timeout=self._longest_wait) else None)

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        held = self._mine.get().locks
        # there is nothing in the child of a fork that was made in between
        lock = held.pop() if held else None
        if lock is not None:
            lock.release()
