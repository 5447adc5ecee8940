"""The same as `call` for clients whose calls are coroutines, on asyncio and trio.

Nothing here waits, cancels or holds a lock: the client's own timeouts end the waits. So the event
loop is never blocked, and a pool is left as the client leaves it after a timeout of its own.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import Token
from typing import Any, AsyncIterator, Callable, Optional

from ..core.tasks import current_task
from . import call
from .call import Translate
from .exchange import Exchange, Target, active
from .policy import installed


def mine() -> Optional[Exchange]:
    """Return the exchange under way in this task, None if there is none.

    A task that was begun during a call has copied its context, and with it the exchange, which is
    no affair of that task's, and may be over by now.
    """
    exchange = active.get()
    if exchange is None or exchange.task is not current_task():
        return None
    return exchange


async def around(
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
    """Await a client's call within an exchange of this task: its own, or that which is under way.

    With `streams` the caller reads the body itself afterwards, and the total ends with the call.
    """
    outer = mine()
    token = active.set(outer)
    exchange = call.admit(target, none_given, has_stream_flag) if outer is None else outer
    if exchange is None:
        _reset(token)
        return await function(*args, **kwargs)
    if outer is None:
        exchange.method, exchange.path, exchange.task = method, path, current_task()
    before = None if outer is None else outer.visited()
    active.set(exchange)
    try:
        if before is not None:  # the next hop of a redirect, or what a hook of the app calls
            call.admit(target)
        return await function(*args, **kwargs)
    except Exception as error:
        ours = call.translated(error, exchange, translate)
        if ours is None:
            raise
    finally:
        _reset(token)
        if before is not None:
            exchange.revisit(before)
        else:
            exchange.task = None
            if streams:
                exchange.release()
            if installed.policy.notes_calls:
                call.observe(exchange, timeout_given, none_given)
    # outside of the `except`: it stands for what was raised there
    raise ours


async def bounded(chunks: Any, exchange: Exchange, translate: Translate) -> AsyncIterator[bytes]:
    """Yield the chunks of a body, each of which is waited for within the body's exchange.

    `chunks` is an asynchronous generator of the client's.
    """
    try:
        while True:
            # not for longer than one chunk: what the app does in between is no part of it
            token = active.set(exchange)
            caller, exchange.task = exchange.task, current_task()
            try:
                chunk = await chunks.__anext__()
            except StopAsyncIteration:
                return
            finally:
                exchange.task = caller
                _reset(token)
            yield chunk
    except Exception as error:
        ours = call.translated(error, exchange, translate)
        if ours is None:
            raise
        raise ours from None
    finally:
        await chunks.aclose()
        call.observe_body(exchange)


def _reset(token: Token[Optional[Exchange]]) -> None:
    # a coroutine that is thrown away half done ends in the context of the code that throws it away
    with suppress(ValueError):
        active.reset(token)
