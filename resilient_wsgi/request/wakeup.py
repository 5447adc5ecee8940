"""What ends the rest of a thread that waits for nothing else: a pipe, so that it can be waited for
together with a socket.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import List, Tuple

from ..core.system import SYSTEM


class Alarm:
    """`ring()` ends a wait for `fd`, now or the next one, until `rang()` has noticed it."""

    def __init__(self) -> None:
        """Make it. Raises `OSError` if there are no descriptors left."""
        self.fd, self._write = SYSTEM.pipe()
        self._identities = self._look()

    def __repr__(self) -> str:
        return f"<Alarm {self.fd}>"

    @property
    def works(self) -> bool:
        """Whether it is still this pipe: apps close all descriptors, and what is opened then has
        its numbers.
        """
        return bool(self._identities) and self._look() == self._identities

    def ring(self) -> bool:
        """End the wait; return whether that could be done."""
        if not self.works:
            return False
        with contextlib.suppress(OSError):  # full: it rings already
            os.write(self._write, b"!")
        return True

    def wait(self, seconds: float) -> None:
        """Wait for it, at most so long."""
        poll = SYSTEM.poll()
        with contextlib.suppress(OSError, ValueError):
            poll.register(self.fd, select.POLLIN)
            poll.poll(seconds * 1000)

    def rang(self) -> bool:
        """Return whether it rings; it is quiet again then."""
        with contextlib.suppress(OSError):
            return self.works and bool(os.read(self.fd, 4096))
        return False

    def close(self) -> None:
        """Let go of the pipe."""
        if self.works:
            os.close(self.fd)
            os.close(self._write)
        self._identities = []

    def _look(self) -> List[Tuple[int, int]]:
        try:
            found = [os.fstat(fd) for fd in (self.fd, self._write)]
        except OSError:
            return []
        return [(about.st_dev, about.st_ino) for about in found]


def end_as_known() -> None:
    """Have the calling thread, which is about to end, end without a traceback.

    Where gevent has patched `threading` meanwhile, the thread is known by another number than when
    it began, and its end would raise KeyError: asking for it has it known by this one.
    """
    threading.current_thread()
