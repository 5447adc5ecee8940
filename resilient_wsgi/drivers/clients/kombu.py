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
        def once(*given: Any, **named: Any) -> Any:
            try:
                return function(*given, **named)
            except _errors(connection) as error:
                if not to.limits.is_over(SERVICE):
                    raise
                # of a class that kombu does not try again, and what it raises in the end
                found = error if isinstance(error, TimedOut) else caused_by(error)
                failed = raised(str(error)) if found is None else instead(raised, found)
                cause = None if found is not None else error
            raise failed from cause

        once.__name__ = getattr(function, "__name__", "once")
        once.__doc__ = function.__doc__
        once.__module__ = getattr(function, "__module__", __name__)
        return original(connection, obj, once, *args, **kwargs)

    return ensure


def _errors(connection: Any) -> Any:
    """Return what kombu tries again after."""
    return (*connection.recoverable_connection_errors, *connection.recoverable_channel_errors)
