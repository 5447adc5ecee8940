"""Begin and end an exchange around a call of a client; give up with that client's own exception."""

from __future__ import annotations

from typing import Any, Callable, Optional

from ..errors import DeadlineExceeded
from . import exceptions as native, policy, report
from .exceptions import TimedOut
from .exchange import Exchange, Target, active

guard = report.guard

Translate = Callable[[Exception, TimedOut, Exchange], Optional[Exception]]
"""Returns the client's own exception for one that a limit of ours has caused; None if it is that, by now."""


def begin(target: Target, none_given: bool = False, flagged: bool = True) -> Optional[Exchange]:
    """Return a new exchange, None where nothing is installed."""
    return Exchange(target, none_given, flagged) if policy.policy.on else None


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
    flagged: bool = True,
    method: Any = "",
    path: Any = "",
) -> Any:
    """Call a client within an exchange: its own if it is the outermost one, that which is under way
    if it is not.

    With `streams` the caller reads the body itself afterwards, and the total ends with the call.
    """
    exchange = active.get()
    if exchange is not None:
        return joined(function, args, kwargs, exchange, target, translate)
    if not policy.policy.on:
        return function(*args, **kwargs)
    exchange = Exchange(target, none_given, flagged)
    exchange.method, exchange.path = method, path
    token = active.set(exchange)
    try:
        return function(*args, **kwargs)
    except Exception as error:
        ours = translated(error, exchange, translate)
        if ours is None:
            raise
    finally:
        active.reset(token)
        if streams:
            exchange.release()
        if policy.policy.curious:
            observe(exchange, timeout_given, none_given)
    # from outside of the `except`: it stands for what was raised there, not for something that came
    # of it
    raise ours


def joined(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    exchange: Exchange,
    target: Target,
    translate: Translate,
) -> Any:
    """Call the next hop of a redirect, or whatever a hook of the app calls meanwhile."""
    if exchange.watch is not None:
        return function(*args, **kwargs)
    before = exchange.visited()
    try:
        exchange.visit(target)
        exchange.check("redirect")
        return function(*args, **kwargs)
    except Exception as error:
        ours = translated(error, exchange, translate)
        if ours is None:
            raise
    finally:
        exchange.revisit(before)
    raise ours


def observe(exchange: Exchange, timeout_given: bool, none_given: bool) -> None:
    """Note a call that is over where somebody wants to know: in report mode, or of an explicit
    None.
    """
    with guard:
        report.observe(exchange, timeout_given, none_given)


def observe_body(exchange: Exchange) -> None:
    """Note, in report mode, a response that is over."""
    with guard:
        report.observe_body(exchange)


def translated(error: Exception, exchange: Exchange, translate: Translate) -> Optional[Exception]:
    """Return what to raise instead, where a limit of ours is the reason for this exception; None to
    let this one pass.
    """
    with guard:
        failure = native.failure(error)
        if failure is not None and (failure is error or not isinstance(error, DeadlineExceeded)):
            return translate(error, failure, exchange)
    return None
