"""A thread that waits, for the tests of waits."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import Any, Callable, Iterator, Optional

from resilient_wsgi.host import waits, waits_sockets
from resilient_wsgi.host.waits_chain import Still
from resilient_wsgi.host.waits_end import Ends, Outcome


@contextlib.contextmanager
def fresh_descriptors(first: int = 300) -> Iterator[None]:
    """Have all that is opened in the block get a number that nothing here has had yet.

    A thread that another test has left in a call on a closed descriptor names its number for ever,
    and a wait for what has that number by now is refused, as it must be.
    """
    taken = []
    try:
        while not taken or taken[-1] < first:
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        yield
    finally:
        for fd in taken:
            os.close(fd)


class Slot:
    __slots__ = ("request",)

    def __init__(self, request: object) -> None:
        self.request: Optional[object] = request


class Waiter:
    """Runs a call in a thread; `wait()` is what it waits for once it does."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.native = 0
        self.result: Any = None
        self.error: Optional[BaseException] = None
        self.slot = Slot(object())
        self.thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self.thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        self.native = threading.get_native_id()
        try:
            self.result = call()
        except BaseException as error:
            self.error = error

    def wait(self, *names: str, kind: str = "") -> waits.Wait:
        """Return its wait once it is in one of these system calls, or of this kind."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = waits.wait_of(self.native) if self.native else None
            if found is not None and (found.call.name in names or found.kind == kind):
                return found
            time.sleep(0.005)
        msg = f"it waits for {found}, not in {names} {kind}"
        raise AssertionError(msg)

    def blocks(self, kind: str = waits.SOCKET) -> waits.Wait:
        return self.wait(kind=kind)

    @property
    def still(self) -> Still:
        return Still.attribute(self.slot, "request", self.slot.request)

    def end(self, ends: Ends, wait: Optional[waits.Wait] = None, **options: Any) -> Outcome:
        wait = self.blocks() if wait is None else wait
        frames = options.pop("frames", list)
        return ends.end(wait, 1, self.still, frames, **options)

    def end_soon(self, ends: Ends) -> Outcome:
        """End whatever it waits for, at each tick, as the watchdog does; return what ended it."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            outcome = self.end(ends)
            if outcome.ended:
                return outcome
            time.sleep(0.05)
        raise AssertionError(outcome)

    def join(self) -> None:
        self.thread.join(10)
        assert not self.thread.is_alive(), "it still waits"


def silent() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def ends_without_listeners() -> Ends:
    """What a worker has that began with no sockets at all."""
    return Ends(waits_sockets.Inherited())


@contextlib.contextmanager
def closing(*sockets: Any) -> Any:
    try:
        yield sockets
    finally:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.close()


@contextlib.contextmanager
def full_listener() -> Iterator[socket.socket]:
    """Yield a listening socket whose queue is full: who connects to it waits."""
    with closing(socket.socket(), *(socket.socket() for _ in range(3))) as (listener, *fillers):
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener
