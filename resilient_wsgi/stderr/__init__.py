"""Waits for the reader of the log: nothing that is written to standard error can block, and what is
lost is known.
"""

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
