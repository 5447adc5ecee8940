"""httpcore, on which httpx rides: each of its waits takes a timeout, which is bounded here by what is left."""

from __future__ import annotations

import functools
import math
from typing import Any, Callable, Dict, Optional

from .. import clamp, native
from ..connect import create_connection
from ..exchange import Exchange, active
from ..native import TimedOut
from ..patching import Patches
from ..policy import Limit

MODULE = "httpcore"


def patch(module: Any, patches: Patches) -> None:
    """Wrap the streams, the making of connections and the wait for a pooled one."""
    from importlib import import_module

    backend, pool = import_module("httpcore._backends.sync"), import_module("httpcore._sync.connection_pool")
    patches.wrap(backend.SyncBackend, "connect_tcp", functools.partial(_connect_tcp, module, backend.SyncStream))
    waits = getattr(pool, "PoolRequest", None) or pool.RequestStatus  # the name before httpcore 1.0
    patches.wrap(waits, "wait_for_connection", _bounded("pool", 0, module.PoolTimeout))
    for stream in (backend.SyncStream, getattr(backend, "TLSinTLSStream", None)):
        if stream is not None:
            patches.wrap(stream, "read", _bounded("headers", 1, module.ReadTimeout))
            patches.wrap(stream, "write", functools.partial(_write, module.WriteTimeout))
    patches.wrap(backend.SyncStream, "start_tls", functools.partial(_start_tls, module.ConnectTimeout))


def _bounded(phase: str, position: int, timeout_error: Any) -> Callable[..., Any]:
    """Return a wrapper that bounds the argument `timeout`, which stands at this position."""

    def wrapper(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        exchange = active.get()
        if exchange is None or exchange.report:
            return wrapped(*args, **kwargs)
        asked = args[position] if len(args) > position else kwargs.get("timeout")
        if phase == "headers":
            exchange.phase = "body" if exchange.phase == "body" else phase
            silence = _silence(asked, exchange.limits.read)
        else:
            exchange.phase = phase
            silence = _silence(asked, Limit(math.inf, ""))
        try:
            wait = exchange.wait(silence.seconds)
            return wrapped(*args[:position], timeout=None if wait == math.inf else wait)
        except TimedOut as error:
            raise _as(timeout_error, error) from None
        except timeout_error as error:
            raise _of(timeout_error, error, exchange, asked, silence) from error

    return wrapper


def _write(timeout_error: Any, wrapped: Callable[..., Any], stream: Any, args: Any, kwargs: Any) -> Any:
    """Write in pieces: the stream waits its timeout for each part that the kernel takes."""
    exchange = active.get()
    if exchange is None or exchange.report or not args:
        return wrapped(*args, **kwargs)
    asked = args[1] if len(args) > 1 else kwargs.get("timeout")
    silence = _silence(asked, exchange.limits.read)
    if exchange.phase != "connect":  # a proxy's tunnel is part of connecting
        exchange.phase = "send"
    data = args[0]
    try:
        for start in range(0, len(data), clamp.SLICE_BYTES):
            wait = exchange.wait(silence.seconds)
            wrapped(data[start : start + clamp.SLICE_BYTES], timeout=None if wait == math.inf else wait)
    except TimedOut as error:
        raise _as(timeout_error, error) from None
    except timeout_error as error:
        raise _of(timeout_error, error, exchange, asked, silence) from error


def _connect_tcp(module: Any, stream: Any, wrapped: Callable[..., Any], backend: Any, args: Any, kwargs: Any) -> Any:
    """Connect with all addresses sharing one limit, which the TLS handshake shares too."""
    exchange = active.get()
    if exchange is None or exchange.report:
        return wrapped(*args, **kwargs)
    return stream(_socket(exchange, module, *args, **kwargs))


def _socket(
    exchange: Exchange,
    module: Any,
    host: str,
    port: int,
    timeout: Optional[float] = None,
    local_address: Optional[str] = None,
    socket_options: Any = None,
) -> Any:
    import socket

    options = [*(socket_options or ()), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    source = None if local_address is None else (local_address, 0)
    exchange.begin_connect(timeout)
    try:
        return create_connection(exchange, (host, port), source, options)
    except TimedOut as error:
        raise _as(module.ConnectTimeout, error) from None
    except OSError as error:
        raise module.ConnectError(str(error)) from error
    finally:
        exchange.end_connect()


def _start_tls(timeout_error: Any, wrapped: Callable[..., Any], stream: Any, args: Any, kwargs: Any) -> Any:
    exchange = active.get()
    if exchange is None or exchange.report:
        return wrapped(*args, **kwargs)
    given: Dict[str, Any] = dict(zip(("ssl_context", "server_hostname", "timeout"), args), **kwargs)
    exchange.resume_connect()
    exchange.phase = "tls"
    try:
        wait = exchange.wait(math.inf)
        return wrapped(**{**given, "timeout": None if wait == math.inf else wait})
    except TimedOut as error:
        raise _as(timeout_error, error) from None
    except timeout_error:
        raise _as(timeout_error, exchange.give_up(exchange.why)) from None
    finally:
        exchange.end_connect()


def _silence(asked: Optional[float], default: Limit) -> Limit:
    return default if asked is None else Limit(asked, "the caller's timeout")


def _of(kind: Any, error: Exception, exchange: Exchange, asked: Optional[float], silence: Limit) -> Exception:
    """Return what to raise for a timeout: the client's own as it is, if it is the caller's limit that was met."""
    if asked is not None and not exchange.expired():
        return error
    return _as(kind, exchange.give_up(exchange.ended_by(silence)))  # type: ignore[no-any-return]


def _as(kind: Any, error: TimedOut) -> Any:
    return native.make((kind,), str(error), {"reason": error})
