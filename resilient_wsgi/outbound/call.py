"""Begin and end an exchange around a call of a client; give up with that client's own exception."""

from __future__ import annotations

from typing import Any, Callable, Optional

from ..guard import Guard
from ..settings import REPORT
from . import policy, report
from .exchange import Exchange, Target, active
from .native import TimedOut

guard = Guard("outbound")

Translate = Callable[[Exception, TimedOut], Optional[Exception]]


def begin(target: Target, none_given: bool = False, flagged: bool = True) -> Optional[Exchange]:
    """Return a new exchange, None where nothing is installed."""
    if not policy.policy.on:
        return None
    with guard:
        return Exchange(target, none_given, flagged)
    return None


def around(
    call: Callable[[], Any],
    target: Target,
    translate: Translate,
    *,
    none_given: bool = False,
    streams: bool = False,
    flagged: bool = True,
    timeout_given: bool = True,
) -> Any:
    """Call a client within an exchange: its own if it is the outermost one, that which is under way if it is not.

    With `streams` the caller reads the body itself afterwards, and the total ends with the call.
    """
    exchange = active.get()
    if exchange is not None:
        return joined(call, exchange, target, translate)
    exchange = begin(target, none_given, flagged)
    if exchange is None:
        return call()
    token = active.set(exchange)
    try:
        return call()
    except Exception as error:
        translated = _translated(error, exchange, translate)
        if translated is None:
            raise
        raise translated from error
    finally:
        active.reset(token)
        if streams:
            exchange.release()
        observe(exchange, timeout_given, none_given)


def observe(exchange: Exchange, timeout_given: bool, none_given: bool) -> None:
    """Note a call that is over where somebody wants to know: in report mode, or of an explicit None."""
    if exchange.report or (none_given and policy.policy.options.explicit_none == REPORT):
        with guard:
            report.observe(exchange, timeout_given, none_given)


def joined(call: Callable[[], Any], exchange: Exchange, target: Optional[Target], translate: Translate) -> Any:
    """Call a client that another one uses, or the next hop of a redirect."""
    if exchange.report:
        return call()
    try:
        if target is not None:
            exchange.visit(target)
            exchange.check("redirect")
        return call()
    except Exception as error:
        translated = _translated(error, exchange, translate)
        if translated is None:
            raise
        raise translated from error


def _translated(error: Exception, exchange: Exchange, translate: Translate) -> Optional[Exception]:
    """Return the client's own exception where a limit of ours is the cause, None to let this one pass."""
    failure = exchange.failure
    if failure is None:
        return None
    with guard:
        return translate(error, failure)
    return None
