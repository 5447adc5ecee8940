"""kombu: nothing is tried again, nor connected again, after the deadline, with any broker.

kombu tries for ever, and Celery three times, with pauses between.
"""

from __future__ import annotations

from typing import Any

from ..exceptions import TimedOut, caused_by, instead, translating
from . import To, need

SERVICE = "kombu"


def patch(module: Any, to: To) -> None:
    """Wrap the two loops that try again."""
    from kombu import exceptions

    need(module, "retry_over_time")
    need(module.Connection, "ensure", "_ensure_connection")
    to.wrap(module, "retry_over_time", lambda original: _retry_over_time(original, to))
    raised = exceptions.OperationalError
    to.wrap(module.Connection, "_ensure_connection", translating(raised))
    to.wrap(module.Connection, "ensure", lambda original: _ensure(original, to, raised))


def _retry_over_time(original: Any, to: To) -> Any:
    """Raise the error of an attempt if the next one would begin after the deadline."""

    def retry_over_time(
        function: Any, catch: Any, args: Any = None, kwargs: Any = None, errback: Any = None,
        *more: Any, **named: Any,
    ) -> Any:  # fmt: skip
        if to.limits.deadline(SERVICE) is None:
            return original(function, catch, args, kwargs, errback, *more, **named)

        def failed(error: Exception, intervals: Any, retries: int) -> float:
            pause = float(errback(error, intervals, retries) if errback else next(intervals))
            if to.limits.is_over(SERVICE, pause):
                raise error
            return pause

        return original(function, catch, args, kwargs, failed, *more, **named)

    return retry_over_time


def _ensure(original: Any, to: To, raised: Any) -> Any:
    """Have an operation that failed at the deadline not be tried again."""

    def ensure(connection: Any, obj: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        once = _Once(to, raised, connection, function)
        return original(connection, obj, once, *args, **kwargs)

    return ensure


class _Once:
    """Calls a function; raises what kombu does not try again if it fails at the deadline."""

    def __init__(self, to: To, raised: Any, connection: Any, function: Any) -> None:
        self._limits = to.limits
        self._raised = raised
        self._connection = connection
        self._function = function
        for name in ("__name__", "__doc__", "__module__"):  # kombu copies them
            setattr(self, name, getattr(function, name, None))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        connection = self._connection
        try:
            return self._function(*args, **kwargs)
        except connection.recoverable_connection_errors as error:
            failed = self._failure(error)
            if failed is None:
                raise
        except connection.recoverable_channel_errors as error:
            failed = self._failure(error)
            if failed is None:
                raise
        raise failed

    def _failure(self, error: Any) -> Any:
        """Return what kombu raises in the end, and does not try again; None if it may."""
        if not self._limits.is_over(SERVICE):
            return None
        found = error if isinstance(error, TimedOut) else caused_by(error)
        if found is not None:
            return instead(self._raised, found)
        failed = self._raised(str(error))
        failed.__cause__ = error
        return failed
