"""Waits of and for clients: each request has a deadline, a watchdog looks after it, and no work is
done for clients that are gone.
"""

from __future__ import annotations

from ..core.lazy import names
from .client_gone import ClientGoneMiddleware, client_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..overload.middleware import QueueMiddleware
    from .component import install, status_lines, uninstall
    from .deadline import DeadlineMiddleware
    from .watchdog import Watchdog

__all__ = [
    "ClientGoneMiddleware",
    "DeadlineMiddleware",
    "QueueMiddleware",
    "Watchdog",
    "client_gone",
    "install",
    "status_lines",
    "uninstall",
]

__getattr__ = names(
    __name__,
    {
        "DeadlineMiddleware": "deadline",
        "QueueMiddleware": "..overload.middleware",
        "Watchdog": "watchdog",
        "install": "component",
        "status_lines": "component",
        "uninstall": "component",
    },
)
