"""urllib3 1.26 and 2: one exchange over redirects, retries and their sleeps, the wait for a pooled connection, all addresses."""

from __future__ import annotations

import functools
import socket
from typing import Any, Callable, Dict, Optional, Tuple

from ...errors import DeadlineExceeded
from .. import call, native
from ..connect import create_connection
from ..exchange import active, as_number
from ..native import TimedOut
from ..patching import Patches
from . import http_client

MODULE = "urllib3"


def patch(module: Any, patches: Patches) -> None:
    """Wrap pools, connections, retries and the reading of responses."""
    from importlib import import_module

    connections, responses = import_module("urllib3.connection"), import_module("urllib3.response")
    translate = _translator(module.exceptions)
    pool = module.connectionpool.HTTPConnectionPool
    patches.wrap(module.poolmanager.PoolManager, "urlopen", functools.partial(_manager_urlopen, translate))
    patches.wrap(pool, "urlopen", functools.partial(_pool_urlopen, translate))
    patches.wrap(pool, "_get_conn", functools.partial(_get_conn, module.exceptions.EmptyPoolError))
    for name in ("HTTPConnection", "HTTPSConnection"):
        http_client.patch_connect(getattr(connections, name), patches)
    patches.wrap(import_module("urllib3.util.connection"), "create_connection", _create_connection)
    retry = module.util.retry.Retry
    patches.wrap(retry, "increment", functools.partial(_increment, translate))
    patches.wrap(retry, "sleep", _sleep)
    patches.wrap(retry, "get_retry_after", _pause)
    patches.wrap(retry, "get_backoff_time", _pause)
    for name in ("read", "read1"):
        _patch_read(responses.HTTPResponse, name, translate, patches)
    patches.wrap(responses.HTTPResponse, "read_chunked", functools.partial(_read_chunked, translate))


def _translator(errors: Any) -> call.Translate:
    kinds: Dict[str, Tuple[Any, ...]] = {
        "dns": (errors.ConnectTimeoutError,),
        "connect": (errors.ConnectTimeoutError,),
        "tls": (errors.ConnectTimeoutError,),
        "pool": (errors.EmptyPoolError, errors.TimeoutError),
    }

    def translate(error: Exception, failure: TimedOut) -> Optional[Exception]:
        if isinstance(error, DeadlineExceeded) and isinstance(error, errors.HTTPError):
            return None
        wanted = kinds.get(failure.phase, (errors.ReadTimeoutError,))
        if isinstance(error, errors.MaxRetryError):  # what retries end in: it is caught for that
            wanted = (type(error), *wanted)
        attributes = {"pool": None, "url": None, "reason": failure, "phase": failure.phase}
        return native.make(wanted, str(failure), {**attributes, **error.__dict__})  # type: ignore[no-any-return]

    return translate


def _manager_urlopen(
    translate: call.Translate, wrapped: Callable[..., Any], manager: Any, args: Any, kwargs: Any
) -> Any:
    url = args[1] if len(args) > 1 else kwargs.get("url", "")
    return _urlopen(
        wrapped, args, kwargs, url, translate, kwargs.get("timeout", manager.connection_pool_kw.get("timeout", 0))
    )


def _pool_urlopen(translate: call.Translate, wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: Any) -> Any:
    exchange = active.get()
    if exchange is not None:  # requests, a manager, or the next try of this same pool
        return call.joined(lambda: wrapped(*args, **kwargs), exchange, None, translate)
    timeout = args[7] if len(args) > 7 else kwargs.get("timeout", pool.timeout)
    return _urlopen(wrapped, args, kwargs, (pool.host, pool.port), translate, timeout)


def _urlopen(
    wrapped: Callable[..., Any], args: Any, kwargs: Any, target: Any, translate: call.Translate, timeout: Any
) -> Any:
    return call.around(
        lambda: wrapped(*args, **kwargs),
        target,
        translate,
        none_given=_is_none(timeout),
        streams=not kwargs.get("preload_content", True),
        timeout_given=_is_given(timeout),
    )


def _is_none(timeout: Any) -> bool:
    """Tell whether the caller said None: as it is, or in a Timeout for both connect and read."""
    if hasattr(timeout, "connect_timeout"):
        return timeout.connect_timeout is None and timeout.total is None
    return timeout is None


def _is_given(timeout: Any) -> bool:
    if hasattr(timeout, "connect_timeout"):
        return as_number(timeout.connect_timeout) is not None or as_number(timeout.total) is not None
    return as_number(timeout) is not None


def _get_conn(empty_pool_error: Any, wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: Any) -> Any:
    """Wait for a connection of the pool no longer than what is left."""
    exchange = active.get()
    asked = args[0] if args else kwargs.get("timeout")
    if exchange is None or exchange.report or not pool.block:
        return wrapped(*args, **kwargs)
    exchange.phase = "pool"
    wait = exchange.wait(float("inf") if asked is None else asked)
    try:
        return wrapped(timeout=None if wait == float("inf") else wait)
    except empty_pool_error:
        if not exchange.expired():
            raise
        raise exchange.give_up(exchange.why) from None


def _create_connection(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    """Connect within the exchange's limit; keep to the family that `allowed_gai_family`, often replaced, allows."""
    exchange = active.get()
    if exchange is None or not exchange.connecting:
        return wrapped(*args, **kwargs)
    return _connect(exchange, *args, **kwargs)


def _connect(
    exchange: Any, address: Any, timeout: Any = None, source_address: Any = None, socket_options: Any = None
) -> socket.socket:
    from urllib3.exceptions import LocationParseError
    from urllib3.util import connection

    host, port = address
    host = host.strip("[]") if host.startswith("[") else host
    try:
        host.encode("idna")
    except UnicodeError:
        msg = f"'{host}', label empty or too long"
        raise LocationParseError(msg) from None
    return create_connection(exchange, (host, port), source_address, socket_options, connection.allowed_gai_family())


def _increment(translate: call.Translate, wrapped: Callable[..., Any], retry: Any, args: Any, kwargs: Any) -> Any:
    """Try nothing again when the exchange is over."""
    exchange = active.get()
    failure = None if exchange is None else exchange.failure
    if exchange is not None and failure is not None and exchange.expired():
        error = kwargs.get("error") or failure
        raise translate(error, failure) or error
    result = wrapped(*args, **kwargs)
    if exchange is not None:
        exchange.failure = None  # connecting took too long, and there is time for another try
    return result


def _sleep(wrapped: Callable[..., Any], retry: Any, args: Any, kwargs: Any) -> Any:
    """Let `_pause` look at the pauses that are going to be slept."""
    exchange = active.get()
    if exchange is None or exchange.report:
        return wrapped(*args, **kwargs)
    exchange.phase = "retry-sleep"
    return wrapped(*args, **kwargs)


def _pause(wrapped: Callable[..., Any], retry: Any, args: Any, kwargs: Any) -> Any:
    """Raise at once if the pause before the next try is longer than what is left."""
    seconds = wrapped(*args, **kwargs)
    exchange = active.get()
    if exchange is not None and exchange.phase == "retry-sleep" and seconds and not exchange.report:
        left = exchange.wait(float("inf"))
        if seconds > left:
            raise exchange.give_up(
                exchange.why, f"the pause of {seconds:g} s before the next try is longer than what is left"
            )
    return seconds


def _patch_read(owner: Any, name: str, translate: call.Translate, patches: Patches) -> None:
    """Have the timeout of a read be both kinds of exception.

    A plain function, not a wrapt wrapper: it is called for each chunk of a large download.
    """
    read = vars(owner).get(name)
    if read is None:
        return

    @functools.wraps(read)
    def bounded(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return read(self, *args, **kwargs)
        except Exception as error:
            translated = _of_read(error, translate)
            if translated is None:
                raise
            raise translated from error

    patches.replace(owner, name, bounded)


def _read_chunked(translate: call.Translate, wrapped: Callable[..., Any], response: Any, args: Any, kwargs: Any) -> Any:
    try:
        yield from wrapped(*args, **kwargs)
    except Exception as error:
        translated = _of_read(error, translate)
        if translated is None:
            raise
        raise translated from error


def _of_read(error: Exception, translate: call.Translate) -> Optional[Exception]:
    cause = error.__cause__ or error.__context__  # 1.26 does not say `from`
    return translate(error, cause) if isinstance(cause, TimedOut) else None
