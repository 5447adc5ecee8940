"""Waits in requests: each has a deadline and a watchdog, and one whose client has hung up is not
worked on.
"""

from __future__ import annotations

from ..core.lazy import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..overload.middleware import QueueMiddleware
    from .client import ClientGoneMiddleware, client_gone
    from .component import install, status_lines, uninstall
    from .middleware import DeadlineMiddleware
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
        "ClientGoneMiddleware": "client",
        "DeadlineMiddleware": "middleware",
        "QueueMiddleware": "..overload.middleware",
        "Watchdog": "watchdog",
        "client_gone": "client",
        "install": "component",
        "status_lines": "component",
        "uninstall": "component",
    },
)
