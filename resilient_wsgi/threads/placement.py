"""In which of the server's processes a registered thread runs."""

from __future__ import annotations

import threading
from typing import Optional

from .. import servers
from ..servers import Identity
from ..servers.base import MASTER, MULE, PROCESS, SPOOLER, WORKER
from ..shm.lease import Lease

RETRY_SECONDS = 1.0
NAMES = "workers, one, mules, spoolers, worker:<n>, mule:<n>, farm:<name>"
_ALL = {"workers": WORKER, "one": WORKER, "mules": MULE, "spoolers": SPOOLER}
_NAMED = {"worker": WORKER, "mule": MULE, "farm": MULE}


class Placement:
    """Where: every worker, one worker of the instance, the mules, or the children of the master
    that have a number or name.

    A process without a master is every one of its own workers and mules: there it always runs.
    """

    def __init__(self, where: str) -> None:
        kind, colon, name = where.partition(":") if isinstance(where, str) else ("", "", "")
        role = (_NAMED if colon else _ALL).get(kind)
        number = int(name) if kind != "farm" and name.isdigit() else 0
        if role is None or (colon and not (number or (kind == "farm" and name))):
            msg = f"where={where!r} is not known: it takes {NAMES}"
            raise ValueError(msg)
        if colon and servers.detect().configuration.has_place(kind, name) is False:
            msg = f"where={where!r}: this instance has no {kind} {name}, so it would run nowhere"
            raise ValueError(msg)
        self.where = where
        self._role = role
        self._number = number
        self._farm = name if kind == "farm" else ""
        self._lease: Optional[Lease] = Lease() if kind == "one" else None

    def __str__(self) -> str:
        return self.where

    def matches(self, identity: Identity) -> bool:
        """Return whether this process is one in which it is to run."""
        if identity.role == PROCESS:
            return True
        if identity.role == MASTER or identity.role != self._role:
            return False
        if self._farm:
            return servers.detect().configuration.in_farm(self._farm)
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
