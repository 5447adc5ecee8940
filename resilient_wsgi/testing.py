"""Helpers for the tests of those who use the library: a stalled pipe, a hung server, a clock to
turn, events to look at.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from typing import Iterator, List, Optional, Tuple

from . import app as stack, events, installation
from .core.system import System


class FakeClock(System):
    """A `System` whose clock advances only on demand: `clock.advance(5)`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds

    sleep = advance  # type: ignore[assignment]


@contextmanager
def captured_events() -> Iterator[List[events.Event]]:
    """Collect the events of a block into the list that it yields."""
    happened: List[events.Event] = []
    unsubscribe = events.subscribe(happened.append)
    try:
        yield happened
    finally:
        unsubscribe()


@contextmanager
def stalled_pipe() -> Iterator[int]:
    """Yield the writing end of a pipe that is full and never read: a plain write to it never
    returns.
    """
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(writing, True)
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def hung_server() -> Iterator[Tuple[str, int]]:
    """Run a server on 127.0.0.1 that accepts every connection and never answers; yield its
    address.
    """
    accepted: List[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            try:
                while True:
                    accepted.append(listening.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True, name="hung_server")
        thread.start()
        try:
            yield listening.getsockname()[:2]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in accepted:
                connection.close()


class _Off:
    """How many blocks have switched the library off, and what is to be put in place again after the
    last one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._was: Optional[installation.Installation] = None

    def enter(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                self._was = installation.current()
                if self._was is not None:
                    self._was.uninstall()
                stack.bypass(True)

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                stack.bypass(False)
                if self._was is not None:
                    self._was.reinstall()


_off = _Off()


@contextmanager
def off() -> Iterator[None]:
    """Switch the whole library off for a block, and on again as it was; wrapped apps are called
    directly meanwhile.

    Blocks nest, and may overlap in several threads: it is on again after the last one.
    """
    _off.enter()
    try:
        yield
    finally:
        _off.leave()
