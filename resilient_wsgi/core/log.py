"""The library's loggers, whose lines name the library also where the app has not configured logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, MutableMapping, Tuple

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


class Named(Adapter):
    """Begins a line with the logger's name where there is no handler: `logging` prints such lines as they are.

    That is so in many masters, in apps that leave logging alone, and at the end of a process.
    """

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> Tuple[Any, MutableMapping[str, Any]]:
        """Return the message as it is to be logged."""
        return (msg if self.logger.hasHandlers() else f"{self.logger.name}: {msg}"), kwargs


def named(component: str = "") -> Named:
    """Return the logger of a component, or of the library as a whole."""
    return Named(logging.getLogger(f"resilient_wsgi.{component}" if component else "resilient_wsgi"), {})
