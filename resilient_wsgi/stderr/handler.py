"""A `logging` handler that cannot block."""

from __future__ import annotations

import logging
import traceback
from typing import Optional

from .standard_streams import shared
from .stream import NonBlockingStream


class NonBlockingHandler(logging.Handler):
    """Writes records to standard error, or to another `NonBlockingStream`, without a lock.

    In Django's `LOGGING`:
    `"handlers": {"console": {"class": "resilient_wsgi.stderr.NonBlockingHandler"}}`.

    With other handlers all threads wait for the lock of the handler when one of them cannot write.
    Here one line is one write.
    """

    terminator = "\n"

    def __init__(
        self, stream: Optional[NonBlockingStream] = None, level: int = logging.NOTSET
    ) -> None:
        super().__init__(level)
        self.stream = shared(2) if stream is None else stream

    def __repr__(self) -> str:
        return f"<NonBlockingHandler {self.stream!r} ({logging.getLevelName(self.level)})>"

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Create no lock."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record if the filters let it pass; return whether they did."""
        # not the method of the base, which requires a lock since Python 3.13
        passed = self.filter(record) if self.filters else True
        if not passed:
            return False
        # a filter may return another record instead (Python 3.12)
        self.emit(record if passed is True else passed)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record: one line, or more if its text has more."""
        try:
            self.stream.write(self.format(record) + self.terminator)
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Report a record that cannot be formatted, to the same stream.

        The method of the base would write to `sys.stderr`, which may block.
        """
        if logging.raiseExceptions:
            what = f"{record.msg!r}, {record.pathname}:{record.lineno}"
            self.stream.write(
                f"{traceback.format_exc()}This log record could not be formatted: {what}\n"
            )

    def flush(self) -> None:
        """Write what is buffered, as far as there is room."""
        self.stream.flush()
