"""The exceptions that a client raises for limits of ours: its own, with `DeadlineExceeded` or
`UpstreamLimited` added.

A limit ends a wait as a timeout of the socket does. From there on the client does what it always
does: it raises its own class, tries again, closes the connection. What has come out of all that is
one of its own exceptions still, with its arguments and attributes; only where it leaves the
outermost call, its class is replaced by a direct subclass that is ours, too. So every layer between
(adapters, transports, hooks) sees what it would see without the library.
"""

from __future__ import annotations

import socket
from typing import Any, Optional, Type

from ..core.composed import OURS, compose, joined, make
from ..errors import DeadlineExceeded, ResilientError, UpstreamLimited

_LONGEST_CHAIN = 16
_CLIENTS = frozenset(
    (
        "requests",
        "urllib3",
        "urllib",
        "httpx",
        "httpcore",
        "httpx2",
        "httpcore2",
        "aiohttp",
        "niquests",
        "websocket",
    )
)
_WAITS = (socket.timeout, BlockingIOError)


class TimedOut(DeadlineExceeded, socket.timeout):
    """What sockets raise when a limit of ours ends a wait; http.client and its callers get it.

    `phase` says in which part of the exchange: dns, connect, tls, pool, send, headers, body,
    redirect, retry-sleep. A limit of the caller's own is no limit of ours: it raises what it always
    did.
    """

    # on CPython 3.9 socket.timeout is a class of its own, later it is TimeoutError
    phase = ""


class Limited(UpstreamLimited, TimedOut):
    """The upstream of a call is limited: the call was not made, or was ended."""


def failure(error: Optional[BaseException]) -> Optional[TimedOut]:
    """Return the limit of ours that an exception of a client reports, None if it reports another
    one.

    Followed is what the exception says is its reason. That an exception was raised while another
    was handled says nothing: a call that is made again in an `except` fails for reasons of its own.
    """
    for _ in range(_LONGEST_CHAIN):
        if error is None or isinstance(error, TimedOut):
            return error
        error = _reason(error)
    return None


def _reason(error: BaseException) -> Optional[BaseException]:
    found: Optional[TimedOut] = error.__dict__.get("limit")
    if found is not None:
        return found
    if not _of_client(error):
        return None  # the system's own, or an exception of the app that it has raised on purpose
    for part in (getattr(error, "reason", None), *error.args):
        if isinstance(part, BaseException):
            return part
    if error.__cause__ is None and isinstance(error.__context__, TimedOut):
        return error.__context__  # urllib3 1.26 does not say `from`
    return error.__cause__


def become(error: Any, kind: Type[BaseException], limit: TimedOut, **missing: Any) -> None:
    """Make a client's exception one of this kind and of ours.

    It stays the object that it is, so that its arguments, attributes and traceback do. `missing`
    are the attributes that it should have if it does not. Where the kind is no subclass of the one
    that it was, it has to be raised by name: up to CPython 3.10 a bare `raise` goes by the old one.
    """
    message = joined(str(error), str(limit))
    error.__class__ = compose(kind, _ours(limit))  # type: ignore[arg-type]  # typeshed: classes are not Hashable
    error.__dict__.update(
        {**missing, **error.__dict__}, message=message, limit=limit, phase=limit.phase
    )
    # the message has the waits beneath; what the app was handling meanwhile is its own
    error.__cause__, error.__context__ = None, _before(error)
    _strip(limit)


def instead(
    kind: Type[BaseException], limit: TimedOut, error: Exception, **attributes: Any
) -> Exception:
    """Return a new exception for a limit that another class than the client's has reported."""
    message = str(limit) if error is limit else joined(str(error), str(limit))
    _strip(limit)
    attributes = {**attributes, "limit": limit, "phase": limit.phase}
    return make(kind, message, attributes, _ours(limit))  # type: ignore[no-any-return]


def _ours(limit: TimedOut) -> Type[ResilientError]:
    return UpstreamLimited if isinstance(limit, UpstreamLimited) else DeadlineExceeded


def _before(error: BaseException) -> Optional[BaseException]:
    """Return what was being handled when the call was made."""
    context = error.__context__
    while context is not None and (
        isinstance(context, _WAITS) or (_of_client(context) and not isinstance(context, OURS))
    ):
        context = context.__context__
    return context


def _of_client(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _CLIENTS


def _strip(limit: TimedOut) -> None:
    """Let go of the frames of the wait: the exception whose reason is the limit may be kept."""
    limit.__cause__ = limit.__context__ = limit.__traceback__ = None
