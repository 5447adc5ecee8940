"""Waits of and for clients: each request has a deadline, somebody watches it, and no work is done
for who is gone.
"""

from __future__ import annotations

from ..overload.middleware import QueueMiddleware
from .client_gone import ClientGoneMiddleware, client_gone
from .component import (
    NO_APP,
    around,
    expect_apps,
    install,
    status_lines,
    uninstall,
    unwrapped,
    wrapped,
)
from .deadline import DeadlineMiddleware
from .watchdog import Watchdog

__all__ = [
    "NO_APP",
    "ClientGoneMiddleware",
    "DeadlineMiddleware",
    "QueueMiddleware",
    "Watchdog",
    "around",
    "client_gone",
    "expect_apps",
    "install",
    "status_lines",
    "uninstall",
    "unwrapped",
    "wrapped",
]
