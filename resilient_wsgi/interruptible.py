"""A wait that another thread can end, and that nobody touches any more once it is over."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Callable, Dict, Optional, Type

# a set, in the order of their beginning: one step for the interpreter to add to, and made in half
# the time of a set
Waits = Dict["Interruptible", None]


class Interruptible:
    """One wait: made by `deadline.interruptible()`, used once as a context manager.

    `str(doing)` says what is waited for, `interrupted` whether it was ended from outside. The lock
    makes leaving the block wait for a `callback` that runs just then: after it, the socket is the
    pool's. Without it a wait could be left as untouched between the watchdog's look and its deed;
    and one that was ended could be closed while `shutdown` is on its way to the kernel with the
    number of a descriptor that by then is another's.
    """

    __slots__ = ("_armed", "_callback", "_lock", "_waits", "doing", "interrupted")

    def __init__(
        self, callback: Callable[[], object], doing: object, waits: Optional[Waits]
    ) -> None:
        self.doing = doing
        self.interrupted = False
        self._callback = callback
        self._waits = waits
        self._lock = threading.Lock()
        self._armed = False

    def __enter__(self) -> Interruptible:  # noqa: PYI034 - typing.Self is newer than 3.9
        return self.arm()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.disarm()

    def arm(self) -> Interruptible:
        """Begin, where that and the end are not in one block: `disarm()` is the end."""
        if self._waits is not None:
            self._armed = True
            self._waits[self] = None
        return self

    def disarm(self) -> bool:
        """Have `callback` not called from here on, and return whether it was: then the socket is of
        no more use.
        """
        with self._lock:
            self._armed = False
        if self._waits is not None:
            self._waits.pop(self, None)
        return self.interrupted

    def interrupt(self) -> bool:
        """End the wait, if it is still under way; return whether it was. For the watchdog."""
        with self._lock:
            if not self._armed:
                return False
            self._armed = False
            self.interrupted = True
            try:
                self._callback()
            except Exception:  # closed meanwhile: the wait has ended by itself
                return True
            return True

    def __repr__(self) -> str:
        state = "interrupted" if self.interrupted else "armed" if self._armed else "over"
        return f"<Interruptible {str(self.doing)!r} {state}>"
