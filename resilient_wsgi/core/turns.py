"""One thread at a time, without a wait that has no end: whoever has waited too long goes on."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Optional, Type

LONGEST_WAIT = 2.0  # an import lock may be held by who waits, and wanted by who has the turn


class Turns:
    """A lock that a thread may take again while it has it, and that no child of a fork finds held.

    Used as `with turns:`.
    """

    def __init__(self, longest_wait: float = LONGEST_WAIT) -> None:
        self._longest_wait = longest_wait
        self._pid = 0
        self._lock = threading.RLock()
        self._mine = threading.local()

    def __enter__(self) -> None:
        if self._pid != os.getpid():  # forked, by uWSGI without Python's fork callbacks
            self._pid, self._lock, self._mine = os.getpid(), threading.RLock(), threading.local()
        held = vars(self._mine).setdefault("held", [])
        held.append(self._lock if self._lock.acquire(timeout=self._longest_wait) else None)

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        held = vars(self._mine).get("held")
        lock = (
            held.pop() if held else None
        )  # nothing in the child of a fork that was made in between
        if lock is not None:
            lock.release()
