"""A process that no server runs: Django's runserver, a script, a test."""

from __future__ import annotations

import atexit
import contextlib
import threading
from typing import Optional

from ..core.system import SYSTEM, System
from .base import Server


class PlainServer(Server):
    """A process of its own: it has started, it is ready, and it stops when the interpreter does."""

    def __init__(self, system: System = SYSTEM, *, predecessor: Optional[Server] = None) -> None:
        super().__init__(system)
        if predecessor is not None:
            self._succeed(predecessor)
            return  # the predecessor's exit handler reaches the same callbacks
        self.started()
        # runs before the interpreter joins non-daemon threads, which atexit does not (CPython,
        # threading._shutdown)
        register = getattr(threading, "_register_atexit", atexit.register)
        with contextlib.suppress(RuntimeError):  # the interpreter is at its end already
            register(self.stopping)
