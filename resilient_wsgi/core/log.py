"""The library's loggers, whose lines can be distinguished from the server's also where the app has
not configured logging.
"""

from __future__ import annotations

import logging
import time

TIME = "%Y-%m-%d %H:%M:%S"


class _Header(logging.Filter):
    """Begins a line with time, level and its logger's name where there is no handler: `logging`
    prints such lines as they are.

    That is so in many masters, in apps that leave logging alone, and at the end of a process.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record, one that no handler will format with that before its message."""
        if not logging.getLogger(record.name).hasHandlers():
            record.msg = f"{time.strftime(TIME)} {record.levelname} {record.name}: {record.msg}"
        return True


_header = _Header()


def named(component: str = "") -> logging.Logger:
    """Return the logger of a component, or of the library as a whole."""
    return _headed(
        logging.getLogger(f"resilient_wsgi.{component}" if component else "resilient_wsgi")
    )


def _headed(logger: logging.Logger) -> logging.Logger:
    logger.addFilter(_header)  # once, however often it is added
    return logger
