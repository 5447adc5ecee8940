"""In which of the server's processes a registered thread runs."""

from __future__ import annotations

import threading
from typing import Optional

from ..servers import Identity
from ..servers.base import MASTER, MULE, PROCESS, SPOOLER, WORKER
from .lease import Lease

RETRY_SECONDS = 1.0
NAMES = "workers, one, mules, spoolers, worker:<n>, mule:<n>"
_ROLES = {"workers": WORKER, "worker": WORKER, "one": WORKER, "mules": MULE, "mule": MULE, "spoolers": SPOOLER}


class Placement:
    """Where: every worker, one worker of the instance, the mules, or the child of the master that has this number.

    A process without a master is every one of its own workers and mules: there it always runs.
    """

    def __init__(self, where: str) -> None:
        name, colon, number = where.partition(":") if isinstance(where, str) else ("", "", "")
        if name not in _ROLES or bool(colon) != (name in ("worker", "mule")) or (colon and not number.isdigit()):
            msg = f"where={where!r} is not known: it takes {NAMES}"
            raise ValueError(msg)
        self.where = where
        self._role = _ROLES[name]
        self._number = int(number or 0)
        self._lease: Optional[Lease] = Lease() if name == "one" else None

    def __str__(self) -> str:
        return self.where

    def matches(self, identity: Identity) -> bool:
        """Return whether this process is one in which it is to run."""
        if identity.role == PROCESS:
            return True
        if identity.role == MASTER or identity.role != self._role:
            return False
        return self._number in (0, identity.number)

    def enter(self, name: str, stop: threading.Event) -> bool:
        """Wait until it is this process's turn; return whether that came before the stop."""
        while self._lease is not None and not self._lease.acquire(name):
            if stop.wait(RETRY_SECONDS):
                return False
        return not stop.is_set()

    def leave(self) -> None:
        """Let another process have its turn."""
        if self._lease is not None:
            self._lease.release()
