"""Waits for the reader of the log: nothing that is written to standard error can block, and what is lost is known."""

from .descriptor import Taken, take_over
from .handler import NonBlockingHandler
from .installing import install, uninstall
from .middleware import ErrorsMiddleware
from .spill import Dropped
from .stream import NonBlockingStream

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
