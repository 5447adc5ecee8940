"""Waits for threads: every worker exits in time, and every thread runs where it should.

Each name is imported when it is first used. So no module here has the name of an object.
"""

from __future__ import annotations

from ..core.lazy import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .component import install, uninstall
    from .periodic import every
    from .registered import registry, sleep, stop_event, stopping
    from .spawning import AlreadyStopping, spawn

__all__ = [
    "AlreadyStopping",
    "every",
    "install",
    "registry",
    "sleep",
    "spawn",
    "stop_event",
    "stopping",
    "uninstall",
]

__getattr__ = names(
    __name__,
    {
        "AlreadyStopping": "spawning",
        "every": "periodic",
        "install": "component",
        "registry": "registered",
        "sleep": "registered",
        "spawn": "spawning",
        "stop_event": "registered",
        "stopping": "registered",
        "uninstall": "component",
    },
)
