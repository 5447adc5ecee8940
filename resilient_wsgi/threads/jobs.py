"""Jobs that requests have put into executors: who made the executor, and when, does not matter.

`submit` notes them; the job itself takes its name off when it ends. So the exit knows what is still
queued or running.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from typing import Any, Callable, Dict, List, Set, Tuple
from weakref import ref

from .. import deadline, servers
from ..core.guard import Guard
from ..core.imports import when_imported
from ..core.patching import Patches

POOLS = {
    "concurrent.futures.thread": "ThreadPoolExecutor",
    "concurrent.futures.process": "ProcessPoolExecutor",
}

_guard = Guard("threads")


class Jobs:
    """The jobs of this process, by their futures. A fork begins without any."""

    def __init__(self) -> None:
        self._pid = 0
        self._pools: Dict[
            Any, Tuple[Callable[[], Any], float]
        ] = {}  # futures, their pools and when they were submitted

    def add(self, pool: Any, future: Any) -> None:
        """Note a job until it is done or cancelled."""
        if self._pid != os.getpid():
            self._pid, self._pools = os.getpid(), {}
        self._pools[future] = (ref(pool), time.monotonic())
        future.add_done_callback(self._done)

    def _done(self, future: Any) -> None:
        self._pools.pop(future, None)

    def _here(self) -> List[Tuple[Any, Tuple[Callable[[], Any], float]]]:
        return list(self._pools.items()) if self._pid == os.getpid() else []

    def pending_in(self, pool: Any) -> bool:
        """Return whether a request waits for a job in this executor."""
        return any(owner() is pool for _, (owner, _) in self._here())

    def unfinished(self, oldest: float) -> List[Any]:
        """Return the futures of jobs that were submitted after a time of the monotonic clock and
        are not done.
        """
        return [
            future
            for future, (_, submitted) in self._here()
            if submitted >= oldest and not future.done()
        ]


_jobs = Jobs()
pending_in = _jobs.pending_in
unfinished = _jobs.unfinished


class Submissions:
    """The wrappers around `submit` of each kind of executor, put there once its module is imported."""

    def __init__(self) -> None:
        self._patches = Patches(passing=True)
        self._hooked: Set[str] = set()
        self._on = False

    def watch(self) -> None:
        """Note from now on what is submitted.

        A hook cannot be taken away: it is set once and asks whether it is wanted.
        """
        self._on = True
        for name, kind in POOLS.items():
            if name in sys.modules:
                self._wrap(kind, sys.modules[name])
            elif name not in self._hooked:
                self._hooked.add(name)
                when_imported(name, functools.partial(self._wrap, kind))

    def leave(self) -> None:
        """Stop noting it."""
        self._on = False
        self._patches.restore()

    def _wrap(self, kind: str, module: Any) -> None:
        if self._on and hasattr(module, kind):
            self._patches.wrap(getattr(module, kind), "submit", self._noting)

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def submit(pool: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = original(pool, *args, **kwargs)
            if self._on:
                with _guard:
                    _note(pool, future)
            return future

        return submit


def _note(pool: Any, future: Any) -> None:
    from . import work

    frame = sys._getframe(2)
    server = servers.detect()
    if server.is_server_code(frame.f_code.co_filename):  # gthread's pool handles the requests
        return
    if not (deadline.in_request() or work.is_begun_by(frame)):
        return
    _jobs.add(pool, future)
    server.work_begins()


_submissions = Submissions()
install = _submissions.watch
uninstall = _submissions.leave


def wait(futures: List[Any], seconds: float) -> None:
    """Wait for one of them at least."""
    # there are futures: it is loaded. Under gevent, it must not be before `patch_all()`
    import concurrent.futures

    concurrent.futures.wait(futures, seconds, concurrent.futures.FIRST_COMPLETED)
