"""One registered background thread: what is to run, where, and its life in this process."""

from __future__ import annotations

import os
import threading
import time
from typing import Callable, Optional

from ..events import ThreadFailed, ThreadStopped, emit
from .bounded_call import bounded
from .origin import Origin
from .placement import Placement

# what a callback that tells a thread to stop may take before the others are told
TELL_SECONDS = 0.25


class Life:
    """One run of a registered thread in one process."""

    def __init__(self, member: Member) -> None:
        self.pid = os.getpid()
        self.member = member
        self.event = threading.Event()
        self.reason = ""
        self.outcome = "starting"
        self._told_at = 0.0
        # a daemon: the interpreter must not wait for it without a limit where nobody tells it to
        # stop
        self.thread = threading.Thread(target=self._main, name=member.name, daemon=True)
        self.thread.resilient_wsgi_life = self  # type: ignore[attr-defined]

    def is_alive(self) -> bool:
        """Return whether it runs in this process."""
        return self.pid == os.getpid() and self.thread.is_alive()

    def is_current(self) -> bool:
        """Return whether it is the calling thread."""
        return self.thread is threading.current_thread()

    def join(self, timeout: Optional[float] = None) -> bool:
        """Wait for its end, at most `timeout` seconds; return whether it has ended."""
        if self.is_alive() and not self.is_current():
            self.thread.join(timeout)
        return not self.is_alive()

    def tell(self, reason: str) -> None:
        """Tell it to stop, once.

        A callback that raises or hangs is left behind; the event is set whatever it does.
        """
        if self.event.is_set():
            return
        self.reason = reason
        self._told_at = time.monotonic()
        self.event.set()
        if self.member.on_stop is not None:
            bounded(self.member.on_stop, TELL_SECONDS)

    def _main(self) -> None:
        self.outcome = "running"
        try:
            if self.member.placement.enter(self.member.name, self.event):
                self.member.run()
        except BaseException as error:
            self.outcome = f"failed: {type(error).__name__}: {error}"
            emit(ThreadFailed(self.member.name, f"{type(error).__name__}: {error}"))
            raise  # to threading.excepthook, where error trackers look
        else:
            self._ended()
        finally:
            self.member.placement.leave()

    def _ended(self) -> None:
        if not self.event.is_set():
            self.outcome = "finished"
            return
        seconds = time.monotonic() - self._told_at
        self.outcome = f"stopped in {seconds:.2f} s ({self.reason})"
        emit(ThreadStopped(self.member.name, self.reason, seconds))


class Member:
    """A registered background thread. Made by `spawn` and `every`."""

    def __init__(
        self,
        name: str,
        run: Callable[[], object],
        *,
        group: str,
        placement: Placement,
        on_stop: Optional[Callable[[], object]],
        origin: Origin,
    ) -> None:
        self.name = name
        self.run = run
        self.group = group
        self.placement = placement
        self.on_stop = on_stop
        self.origin = origin
        self._life: Optional[Life] = None

    def __repr__(self) -> str:
        return f"<background thread {self.name!r}: {self.outcome}>"

    @property
    def life(self) -> Optional[Life]:
        """Return its run in this process, None where it has not been started in it."""
        life = self._life
        return life if life is not None and life.pid == os.getpid() else None

    @property
    def started_here(self) -> bool:
        """Return whether it was started in this process."""
        return self.life is not None

    @property
    def ended(self) -> bool:
        """Return whether it was started in this process and has ended."""
        life = self.life
        return life is not None and life.outcome != "starting" and not life.is_alive()

    @property
    def outcome(self) -> str:
        """Return what it does, or did in the end, in words."""
        life = self.life
        return f"waits for {self.placement}" if life is None else life.outcome

    def is_alive(self) -> bool:
        """Return whether it runs in this process."""
        life = self.life
        return life is not None and life.is_alive()

    def start(self) -> None:
        """Start it in this process."""
        life = self._life = Life(self)
        life.thread.start()

    def stop(self, reason: str = "stop() was called") -> None:
        """Tell it alone to stop. Returns at once; `join()` waits."""
        life = self.life
        if life is not None:
            life.tell(reason)

    def join(self, timeout: Optional[float] = None) -> bool:
        """Wait for its end in this process, at most `timeout` seconds; return whether it does not
        run (any more).
        """
        life = self.life
        return life is None or life.join(timeout)
