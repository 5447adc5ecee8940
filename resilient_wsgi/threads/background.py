"""A registered background thread: what it runs, in which processes, and its run in this one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from .. import servers
from ..core.system import PerProcess, this_process
from ..events import ThreadFailed, ThreadStopped, emit
from ..servers import Identity
from ..servers.base import MASTER, MULE, PROCESS, SPOOLER, WORKER
from .bounded_call import bounded
from .exit_timeouts import NOTIFY_SECONDS
from .origin import Origin

if TYPE_CHECKING:
    from ..shm.lease import Lease

RETRY_SECONDS = 1.0
PLACES = "workers, one, mules, spoolers, worker:<n>, mule:<n>, farm:<name>"
_ALL = {"workers": WORKER, "one": WORKER, "mules": MULE, "spoolers": SPOOLER}
_NAMED = {"worker": WORKER, "mule": MULE, "farm": MULE}


class Placement:
    """In which processes of the server a thread runs, from the `where` of `spawn` and `every`.

    A process without a master is every one of its own workers and mules: threads always run there.
    """

    def __init__(self, where: str) -> None:
        kind, colon, name = where.partition(":") if isinstance(where, str) else ("", "", "")
        role = (_NAMED if colon else _ALL).get(kind)
        number = int(name) if kind != "farm" and name.isdigit() else 0
        if role is None or (colon and not (number or (kind == "farm" and name))):
            msg = f"where={where!r} is not known: it takes {PLACES}"
            raise ValueError(msg)
        if colon and servers.detect().configuration.has_place(kind, name) is False:
            msg = f"where={where!r}: this instance has no {kind} {name}, so it would run nowhere"
            raise ValueError(msg)
        self.where = where
        self._role = role
        self._number = number
        self._farm = name if kind == "farm" else ""
        self._lease = _lease() if kind == "one" else None

    def __str__(self) -> str:
        return self.where

    def matches(self, identity: Identity) -> bool:
        """Return whether the thread runs in this process."""
        if identity.role == PROCESS:
            return True
        if identity.role == MASTER or identity.role != self._role:
            return False
        if self._farm:
            return servers.detect().configuration.in_farm(self._farm)
        return self._number in (0, identity.number)

    def enter(self, name: str, stop: threading.Event) -> bool:
        """Wait until this process may run it; return False if `stop` was set before."""
        while self._lease is not None and not self._lease.acquire(name):
            if stop.wait(RETRY_SECONDS):
                return False
        return not stop.is_set()

    def leave(self) -> None:
        """Let another process run it."""
        if self._lease is not None:
            self._lease.release()


def _lease() -> Lease:
    from ..shm.lease import Lease

    return Lease()


class Run:
    """One run of a background thread in one process."""

    def __init__(self, background: BackgroundThread) -> None:
        self._process = this_process()
        self.background = background
        self.event = threading.Event()
        self.reason = ""
        self.outcome = "starting"
        self._notified_at = 0.0
        # a daemon: if it is never notified, the interpreter must not wait for it without a limit
        self.thread = threading.Thread(target=self._main, name=background.name, daemon=True)
        attributes: Any = self.thread
        attributes.resilient_wsgi_run = self

    def belongs_here(self) -> bool:
        """Return whether it was started in this process; a fork inherits it, not its thread."""
        return self._process is this_process()

    def is_alive(self) -> bool:
        """Return whether it runs in this process."""
        return self.belongs_here() and self.thread.is_alive()

    def is_current(self) -> bool:
        """Return whether it is the calling thread."""
        return self.thread is threading.current_thread()

    def join(self, timeout: Optional[float] = None) -> bool:
        """Wait up to `timeout` seconds for its end; return whether it has ended."""
        if self.is_alive() and not self.is_current():
            self.thread.join(timeout)
        return not self.is_alive()

    def notify(self, reason: str) -> None:
        """Notify it to stop, once.

        A callback that raises or hangs is abandoned; the event is set whatever it does.
        """
        if self.event.is_set():
            return
        self.reason = reason
        self._notified_at = time.monotonic()
        self.event.set()
        if self.background.on_stop is not None:
            bounded(self.background.on_stop, NOTIFY_SECONDS)

    def _main(self) -> None:
        self.outcome = "running"
        name, placement = self.background.name, self.background.placement
        try:
            if placement.enter(name, self.event):
                self.background.run()
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
            self.outcome = f"failed: {problem}"
            emit(ThreadFailed(name, problem))
            raise  # to threading.excepthook, which error trackers watch
        else:
            self._note_end()
        finally:
            placement.leave()

    def _note_end(self) -> None:
        if not self.event.is_set():
            self.outcome = "finished"
            return
        seconds = time.monotonic() - self._notified_at
        self.outcome = f"stopped in {seconds:.2f} s ({self.reason})"
        emit(ThreadStopped(self.background.name, self.reason, seconds))


def run_of(thread: threading.Thread) -> Optional[Run]:
    """Return the run of a registered background thread, None for any other thread."""
    run: Optional[Run] = getattr(thread, "resilient_wsgi_run", None)
    return run


class BackgroundThread:
    """A registered background thread. Created by `spawn` and `every`."""

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
        self._run: PerProcess[Run] = PerProcess(lambda: Run(self))

    def __repr__(self) -> str:
        return f"<background thread {self.name!r}: {self.outcome}>"

    @property
    def run_here(self) -> Optional[Run]:
        """Return its run in this process, None if it was not started here."""
        return self._run.peek()

    @property
    def started_here(self) -> bool:
        """Return whether it was started in this process."""
        return self.run_here is not None

    @property
    def ended(self) -> bool:
        """Return whether it was started in this process and has ended."""
        run = self.run_here
        return run is not None and run.outcome != "starting" and not run.is_alive()

    @property
    def outcome(self) -> str:
        """Return its state in this process, in words: running, stopped and why, failed and how."""
        run = self.run_here
        return f"waits for {self.placement}" if run is None else run.outcome

    def is_alive(self) -> bool:
        """Return whether it runs in this process."""
        run = self.run_here
        return run is not None and run.is_alive()

    def start(self) -> None:
        """Start it in this process."""
        run = Run(self)
        self._run.set(run)
        run.thread.start()

    def stop(self, reason: str = "stop() was called") -> None:
        """Notify this thread alone to stop. Returns at once; `join()` waits."""
        run = self.run_here
        if run is not None:
            run.notify(reason)

    def join(self, timeout: Optional[float] = None) -> bool:
        """Wait up to `timeout` seconds for its end in this process; return whether it has ended."""
        run = self.run_here
        return run is None or run.join(timeout)
