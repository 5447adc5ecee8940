"""Begin and end an exchange around a call of a client; give up with that client's own exception."""

from __future__ import annotations

from typing import Any, Callable, Optional

from ..core import composed
from . import exceptions
from .exceptions import TimedOut
from .exchange import Exchange, Target, active
from .policy import guard, installed

Translate = Callable[[Exception, TimedOut, Exchange], Optional[Exception]]
"""Returns the client's own exception for one that a limit of ours has caused, None if it is that by
now.
"""


def admit(
    target: Target, none_given: bool = False, has_stream_flag: bool = True
) -> Optional[Exchange]:
    """Let a call to an upstream begin; return its exchange, or None if OUTBOUND is off.

    The only way to an upstream: the call is the next hop of the exchange that is under way in this
    context, or begins one, which is to `enter()`. Raises `TimedOut` if the one that is under way is
    out of time, or the upstream of the next hop is limited.
    """
    exchange = active.get()
    if exchange is None:
        if not installed.policy.on:
            return None
        return Exchange(target, none_given, has_stream_flag)
    exchange.visit(target)
    if exchange.dry_run is None:
        exchange.check("redirect")
        exchange.move(target)
    return exchange


def around(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    target: Target,
    translate: Translate,
    *,
    none_given: bool = False,
    timeout_given: bool = True,
    streams: bool = False,
    has_stream_flag: bool = True,
    method: Any = "",
    path: Any = "",
) -> Any:
    """Call a client within an exchange: its own if it is the outermost one, that which is under way
    if it is not.

    With `streams` the caller reads the body itself afterwards, and the total ends with the call.
    """
    outer = active.get()
    exchange = admit(target, none_given, has_stream_flag) if outer is None else outer
    if exchange is None:
        return function(*args, **kwargs)
    if outer is None:
        exchange.method, exchange.path = method, path
    before = None if outer is None else outer.visited()
    failed: Optional[Exception] = None
    token = active.set(exchange)
    try:
        if before is not None:  # the next hop of a redirect, or what a hook of the app calls
            admit(target)
        else:
            exchange.enter(target)
        return function(*args, **kwargs)
    except Exception as error:
        failed = error
        ours = translated(error, exchange, translate)
        if ours is None:
            raise
    finally:
        active.reset(token)
        if before is not None:
            exchange.revisit(before)
        else:
            if exchange.call is not None:
                exchange.leave(failed)
            if streams:
                exchange.release()
            if installed.policy.notes_calls:
                observe(exchange, timeout_given, none_given)
    # from outside of the `except`: it stands for what was raised there, not for something that came
    # of it
    raise ours


def observe(exchange: Exchange, timeout_given: bool, none_given: bool) -> None:
    """Note a call that is over, in report mode or of an explicit None."""
    with guard:
        from . import report

        report.observe(exchange, timeout_given, none_given)


def observe_body(exchange: Exchange) -> None:
    """Note, in report mode, a response that is over."""
    with guard:
        from . import report

        report.observe_body(exchange)


def translated(error: Exception, exchange: Exchange, translate: Translate) -> Optional[Exception]:
    """Return what to raise instead, where a limit of ours is the reason for this exception; None to
    let this one pass.
    """
    with guard:
        failure = exceptions.failure(error)
        if failure is not None and (failure is error or not isinstance(error, composed.OURS)):
            return translate(error, failure, exchange)
    return None
