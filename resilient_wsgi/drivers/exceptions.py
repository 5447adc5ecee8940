"""What a driver raises for a limit of ours: its own exception, with `DeadlineExceeded` added.

A limit ends a wait as a timeout of the socket does. The driver does what it always does then: it
closes the connection and raises its own class. Where that leaves the driver, its class is replaced
by a direct subclass that is ours, too.
"""

from __future__ import annotations

import functools
import socket
import sys
from typing import Any, Callable, Optional, Type

from ..core.composed import compose, joined, make
from ..errors import DeadlineExceeded

_LONGEST_CHAIN = 16


class TimedOut(DeadlineExceeded, socket.timeout):
    """What sockets raise when a limit of ours ends a wait; drivers that let it pass raise it."""


def translating(*kinds: Type[BaseException]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what wraps a function of a driver: exceptions of these kinds that a limit of ours has
    caused are raised as ours, too.
    """

    def make_wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            handled = sys.exc_info()[1]
            try:
                return original(*args, **kwargs)
            except kinds as error:
                limit = caused_by(error, handled)
                if limit is None:
                    raise
                ours = translated(error, limit)
            raise ours

        return wrapper

    return make_wrapper


def caused_by(error: BaseException, handled: Optional[BaseException] = None) -> Optional[TimedOut]:
    """Return the limit of ours that has caused an exception, None if none has, or if it says so.

    `handled` is the exception that was being handled before the call: it and what is beneath it
    are no causes.
    """
    found: Optional[BaseException] = error
    for _ in range(_LONGEST_CHAIN):
        if found is None or found is handled:
            return None
        if isinstance(found, DeadlineExceeded):
            return found if isinstance(found, TimedOut) and found is not error else None
        found = found.__cause__ or found.__context__
    return None


def translated(error: BaseException, limit: TimedOut) -> BaseException:
    """Return what to raise for a driver's exception that this limit has caused.

    It stays the object that it is, so that its arguments and attributes do. What Python itself
    raises cannot be of another class: for that the limit is raised.
    """
    _strip(limit)
    if isinstance(error, DeadlineExceeded):
        return error
    if type(error) is socket.timeout:  # up to CPython 3.9 its class could be replaced
        return limit
    message = joined(_text(error), str(limit))
    try:
        error.__class__ = compose(type(error))  # type: ignore[arg-type]
    except TypeError:
        return limit if isinstance(error, OSError) else instead(type(error), limit, message)
    error.__dict__.update(message=message, limit=limit)
    error.__cause__ = error.__context__ = None
    return error


def instead(kind: Type[BaseException], limit: TimedOut, message: str = "", **more: Any) -> Any:
    """Return a new exception of a driver's class and ours, for a limit that ended its wait."""
    return make(kind, message or str(limit), {**more, "limit": limit})


def _text(error: BaseException) -> str:
    if error.args and all(isinstance(each, (str, int)) for each in error.args):
        return ", ".join(map(str, error.args))
    return " ".join(str(error).split())


def _strip(limit: TimedOut) -> None:
    """Let go of the frames of the wait: the exception whose reason is the limit may be kept."""
    limit.__cause__ = limit.__context__ = limit.__traceback__ = None
