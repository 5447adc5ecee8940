"""Waits for an app: a worker that has none never answers, and comes back by itself.

Each name is imported when it is first used: `probe`, which is a process of its own every few
seconds, needs none of them.
"""

from __future__ import annotations

from ..core.lazy import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .checks import check
    from .component import install, tell_probes, uninstall
    from .loader import load
    from .middleware import ReadinessMiddleware
    from .status import drain

__all__ = ["ReadinessMiddleware", "check", "drain", "install", "load", "tell_probes", "uninstall"]

__getattr__ = names(
    __name__,
    {
        "ReadinessMiddleware": "middleware",
        "check": "checks",
        "drain": "status",
        "install": "component",
        "load": "loader",
        "tell_probes": "component",
        "uninstall": "component",
    },
)
