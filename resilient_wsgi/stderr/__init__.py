"""Waits for the log reader: a write to standard error never blocks, and lost lines are counted."""

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
