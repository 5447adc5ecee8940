"""Waits for an app: a worker that has none never answers, and comes back by itself.

Each name is imported when it is first used: `probe`, which is a process of its own every few seconds, needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks import check
    from .component import install, uninstall
    from .loader import load
    from .middleware import ReadinessMiddleware
    from .status import drain

__all__ = ["ReadinessMiddleware", "check", "drain", "install", "load", "uninstall"]

_HOMES = {
    "ReadinessMiddleware": "middleware",
    "check": "checks",
    "drain": "status",
    "install": "component",
    "load": "loader",
    "uninstall": "component",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(importlib.import_module(f".{home}", __name__), name)
    return value
