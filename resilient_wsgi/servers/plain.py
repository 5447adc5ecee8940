"""A process that no server of its own runs: a script, a test, Django's `runserver`."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from types import CodeType
from typing import Optional

from ..core.system import SYSTEM, System
from .base import MASTER, Identity, Server

# django/utils/autoreload.py, DJANGO_AUTORELOAD_ENV: set for the process that serves
SERVES = "RUN_MAIN"


class PlainServer(Server):
    """A process of its own: it has started, and it stops when the interpreter does."""

    def __init__(self, system: System = SYSTEM, *, predecessor: Optional[Server] = None) -> None:
        super().__init__(system)
        if predecessor is not None:
            self.hooks = predecessor.hooks
            return  # the predecessor's exit handler reaches the same callbacks
        self.started()
        # runs before the interpreter joins non-daemon threads, which atexit does not (CPython,
        # threading._shutdown)
        register = getattr(threading, "_register_atexit", atexit.register)
        with contextlib.suppress(RuntimeError):  # the interpreter is at its end already
            register(self.stopping)


class RunserverServer(PlainServer):
    """Django's `runserver`: one process, and with the autoreloader a second one that only watches
    over it.

    The process that watches has imported the app as well, and must run nothing of it.
    """

    name = "runserver"

    def started(self) -> None:
        """Note that this process serves; the one that only watches does not."""
        if self.identity().role != MASTER:
            super().started()

    def identity(self) -> Identity:
        """Return who this process is: if it serves, it is the only one that does."""
        if "--noreload" in sys.argv or os.environ.get(SERVES) == "true":
            return super().identity()
        pid = self._system.getpid()
        return Identity(MASTER, 0, pid, pid)

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return True for `socketserver`, which runs each request, most in a thread of its own."""
        return True if code.co_filename.endswith("socketserver.py") else None


def is_runserver() -> bool:
    """Return whether this process was started as `manage.py runserver`."""
    return "django" in sys.modules and sys.argv[1:2] == ["runserver"]
