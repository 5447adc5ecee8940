"""Waits for the log reader: a write to standard error never blocks, and lost lines are counted."""

from __future__ import annotations

from ..core.lazy import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .buffer import Dropped
    from .component import install, uninstall
    from .handler import NonBlockingHandler
    from .middleware import ErrorsMiddleware
    from .stream import NonBlockingStream
    from .takeover import Taken, take_over

__all__ = [
    "Dropped",
    "ErrorsMiddleware",
    "NonBlockingHandler",
    "NonBlockingStream",
    "Taken",
    "install",
    "take_over",
    "uninstall",
]

__getattr__ = names(
    __name__,
    {
        "Dropped": "buffer",
        "ErrorsMiddleware": "middleware",
        "NonBlockingHandler": "handler",
        "NonBlockingStream": "stream",
        "Taken": "takeover",
        "install": "component",
        "take_over": "takeover",
        "uninstall": "component",
    },
)
