"""Readiness: a worker without an app never answers a request, and recovers by itself.

Each name is imported when it is first used: an exec probe, a process of its own every few seconds,
needs none of them.
"""

from __future__ import annotations

from ..core.lazy import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..app import load
    from .checks import check, drain
    from .component import install, uninstall
    from .middleware import ReadinessMiddleware

__all__ = ["ReadinessMiddleware", "check", "drain", "install", "load", "uninstall"]

__getattr__ = names(
    __name__,
    {
        "ReadinessMiddleware": "middleware",
        "check": "checks",
        "drain": "checks",
        "install": "component",
        "load": "..app",
        "uninstall": "component",
    },
)
