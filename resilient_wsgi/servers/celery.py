"""A Celery worker: the main process and, with the prefork pool, its children, seen from inside the
app.

Celery's own signals say when a process starts and stops working. `atexit` would not do: a child of
the prefork pool ends by `os._exit` (billiard/pool.py, `Worker._do_exit`), and CPython 3.12 starts
no threads once it shuts down.
"""

from __future__ import annotations

import os
import sys
from types import CodeType
from typing import Any, Callable, Optional

from ..core.system import SYSTEM, System
from . import call_stack
from .base import MASTER, PROCESS, WORKER, Identity
from .plain import PlainServer

PACKAGES = ("celery", "kombu", "billiard")
POOL_CHILD = "PoolWorker"  # in the name of each (billiard/pool.py, `_create_worker_process`)
PREFORK = ("prefork", "processes")  # the names of the pool, and the end of its module's


class CeleryServer(PlainServer):
    """`celery worker`.

    With the prefork pool the main process is a master and its children work; with other pools it
    works itself.
    """

    name = "celery"

    def __init__(
        self, system: System = SYSTEM, *, predecessor: Optional[PlainServer] = None
    ) -> None:
        from billiard import current_process
        from celery import current_task, signals

        # pids, not `PerProcess`: a child has to know whether its parent worked already
        self._main, self._worker = system.getpid(), 0
        if POOL_CHILD in current_process().name:  # imported after the fork, or where there is none
            self._main, self._worker = os.getppid(), system.getpid()
        elif current_task:  # imported by a task
            self._worker = self._main
        super().__init__(system, predecessor=predecessor)
        for signal, handler in (
            (signals.worker_init, self._pool_is_known),
            (signals.worker_process_init, self._works),
            (signals.worker_process_shutdown, self._ends),
            (signals.worker_shutdown, self._ends),
        ):
            signal.connect(handler, weak=False)

    def _pool_is_known(self, sender: Any, **_: Any) -> None:
        pool = sender.pool_cls  # a name or a class
        name = pool if isinstance(pool, str) else str(pool.__module__)
        if not name.endswith(PREFORK):
            self._works()

    def _works(self, **_: Any) -> None:
        self._worker = self._system.getpid()
        self.started()

    def _ends(self, **_: Any) -> None:
        self.stopping()

    def started(self) -> None:
        """Note that this process works from now on; the main process of a prefork pool and
        processes that tasks fork do not.
        """
        if self.identity().role == WORKER:
            super().started()

    def identity(self) -> Identity:
        """Return who this process is; children of the prefork pool are numbered by their place in
        it.
        """
        pid = self._system.getpid()
        if pid == self._worker:
            number = 1 if pid == self._main else _place()
            return Identity(WORKER, number, pid, self._main, number)
        if pid == self._main or not self._worker:  # or a child that does not work yet
            return Identity(MASTER, 0, pid, self._main)
        return Identity(PROCESS, 0, pid, os.getppid())

    def waits_for_threads(self) -> bool:
        """Return False in a child of the prefork pool: it ends by `os._exit`, whatever runs
        (billiard/pool.py).
        """
        return self._system.getpid() == self._main

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return, for Celery's own functions, whether they run a task."""
        return self.serving() if self.is_server_code(code.co_filename) else None

    def serving(self) -> bool:
        """Return whether the calling thread runs a task."""
        from celery import current_task

        return bool(current_task)

    def forked_by_app(self) -> bool:
        """Return whether this process is neither the main one nor one of its pool."""
        return self.identity().role == PROCESS

    def is_server_code(self, path: str) -> bool:
        """Return whether a file belongs to Celery or to the two libraries it is built on."""
        folders = (
            os.path.dirname(getattr(sys.modules.get(name), "__file__", None) or "")
            for name in PACKAGES
        )
        return any(folder and path.startswith(folder + os.sep) for folder in folders)


def _place() -> int:
    from billiard import current_process

    return int(getattr(current_process(), "index", -1)) + 1


def running() -> bool:
    """Return whether a worker runs here: `celery … worker`, `python -m celery … worker`, or
    `app.worker_main()`.

    The program imports the app before it knows that it will be a worker; the other two are on the
    stack when they import it.
    """
    if "celery" not in sys.modules:
        return False
    folder = call_stack.folder_of("celery")
    if call_stack.is_inside(
        os.path.join(folder, "apps", "worker.py"), os.path.join(folder, "worker", "")
    ):
        return True
    program = sys.argv[0] or ""
    is_celery = os.path.basename(program) == "celery" or program.endswith(
        os.path.join("celery", "__main__.py")
    )
    return is_celery and "worker" in sys.argv[1:]


def when_a_worker_begins(begins: Callable[[], object]) -> None:
    """Call `begins` when a worker is made in this process although it did not look like one
    (`app.worker_main()`). Celery has to be imported.
    """
    from celery import signals

    signals.celeryd_init.connect(lambda **_: begins(), weak=False)
