"""Jobs that requests have put into executors: who made the executor, and when, does not matter.

`submit` notes them; the job itself takes its name off when it ends. So the exit knows what is still queued or running.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import sys
import time
from typing import Any, Callable, Dict, List, Tuple
from weakref import ref

from .. import deadline, servers
from ..guard import Guard

POOLS = {"concurrent.futures.thread": "ThreadPoolExecutor", "concurrent.futures.process": "ProcessPoolExecutor"}

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
        """Return the futures of jobs that were submitted after a time of the monotonic clock and are not done."""
        return [future for future, (_, submitted) in self._here() if submitted >= oldest and not future.done()]


_jobs = Jobs()
pending_in = _jobs.pending_in
unfinished = _jobs.unfinished


class Patch:
    """The wrapper around `submit` of one kind of executor."""

    def __init__(self, module: str, kind: str) -> None:
        self._module, self._kind = module, kind
        self._original: Any = None
        self._on = self._awaited = False

    def put(self) -> None:
        """Put it in place, now or when the module is imported; doing it again does nothing."""
        self._on = True
        if self._module in sys.modules:
            self._imported()
        elif not self._awaited:
            import wrapt

            self._awaited = True
            wrapt.register_post_import_hook(self._imported, self._module)

    def _imported(self, _module: object = None) -> None:
        pool: Any = getattr(sys.modules.get(self._module), self._kind, None)
        if pool is not None and self._original is None and self._on:
            self._original, pool.submit = pool.submit, self._wrap(pool.submit)

    def take(self) -> None:
        """Take it away. Where somebody has wrapped it after us, our wrapper stays and does nothing."""
        self._on = False
        pool: Any = getattr(sys.modules.get(self._module), self._kind, None)
        if self._original is not None and getattr(pool.submit, "__wrapped__", None) is self._original:
            pool.submit = self._original
            self._original = None

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = original(self_, *args, **kwargs)
            if self._on:
                with _guard:
                    _note(self_, future)
            return future

        return submit


def _note(pool: Any, future: Any) -> None:
    from . import work

    frame = sys._getframe(2)
    server = servers.detect()
    if server.owns(frame.f_code.co_filename):  # gthread's pool handles the requests
        return
    if not (deadline.in_request() or work.is_begun_by(frame)):
        return
    _jobs.add(pool, future)
    server.work_begins()


_patches = [Patch(module, kind) for module, kind in POOLS.items()]


def install() -> None:
    """Note from now on what requests submit; executors that are not imported yet follow when they are."""
    for patch in _patches:
        patch.put()


def uninstall() -> None:
    """Stop noting it."""
    for patch in _patches:
        patch.take()


def wait(futures: List[Any], seconds: float) -> None:
    """Wait for one of them at least."""
    concurrent.futures.wait(futures, seconds, concurrent.futures.FIRST_COMPLETED)
