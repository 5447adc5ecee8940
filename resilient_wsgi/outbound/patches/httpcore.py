"""httpcore and httpcore2, which httpx and httpx2 use: each of their waits takes a timeout, which
is bounded here by what is left.
"""

from __future__ import annotations

import functools
import math
import socket
import threading
from importlib import import_module
from typing import Any, Callable, Optional

from ...core.patching import Patches
from ...core.system import SYSTEM
from ...deadline import interruptible
from ..connect import create_connection
from ..exceptions import TimedOut
from ..exchange import Exchange, active
from ..policy import Limit
from ..socket_timeouts import SLICE_BYTES, cut
from ..unpatched_socket import is_clients_own, is_original

Method = Callable[..., Any]

TUNNEL = b"CONNECT "
_MOMENT = 0.1
# the first bytes of a connection that several threads share (RFC 9113, 3.4): none of them may cut
# it for the others
PREFACE = b"PRI * HTTP/2.0"
SHARED = "_resilient_wsgi_shared"


def patch(module: Any, patches: Patches) -> None:
    """Wrap the streams, the making of connections and the wait for a pooled one."""
    name = module.__name__
    backend = import_module(f"{name}._backends.sync")
    pool = import_module(f"{name}._sync.connection_pool")
    client = _Httpcore(module, backend.SyncStream)
    patches.wrap(backend.SyncBackend, "connect_tcp", client.connect_tcp)
    waits = getattr(pool, "PoolRequest", None) or pool.RequestStatus  # the name before httpcore 1.0
    patches.wrap(waits, "wait_for_connection", client.wait_for_connection)
    for stream in (backend.SyncStream, getattr(backend, "TLSinTLSStream", None)):
        if stream is not None:
            patches.wrap(stream, "read", client.read)
            patches.wrap(stream, "write", client.write)
    patches.wrap(backend.SyncStream, "start_tls", client.start_tls)
    # HTTP/2: calls that share a connection wait for each other, without a timeout of their own
    threads = import_module(f"{name}._synchronization")
    patches.wrap(threads.Lock, "__enter__", client.enter_lock)
    patches.wrap(threads.Semaphore, "acquire", client.acquire)


class _Httpcore:
    """The wrappers that need the exceptions of the httpcore that was imported."""

    def __init__(self, module: Any, stream: Any) -> None:
        self._module = module
        self._stream = stream

    def read(self, original: Method) -> Method:
        """Bound a read."""

        def read(stream: Any, max_bytes: int, timeout: Optional[float] = None) -> Any:
            exchange = active.get()
            if exchange is None:
                return original(stream, max_bytes, timeout)
            if exchange.dry_run is not None:
                with exchange.dry_run.wait(exchange.limits.read, timeout):
                    return original(stream, max_bytes, timeout)
            if exchange.phase not in ("body", "headers") and not exchange.connecting:
                exchange.sent()
            if timeout is not None:
                exchange.allow(timeout)
            silence = silence_of(timeout, exchange.limits.read)
            if silence.seconds > exchange.stretches_above and timeout is not None:
                exchange.stretch(timeout, answer=not exchange.connecting)
            try:
                wait = finite(exchange.wait(silence.seconds))
                return _registered(original, stream, max_bytes, wait, exchange)
            except (TimedOut, self._module.ReadTimeout) as error:
                if not isinstance(error, TimedOut) and exchange.outlived():
                    return read(stream, max_bytes, timeout)
                raise ended(self._module.ReadTimeout, error, exchange, timeout)  # noqa: B904

        return read

    def write(self, original: Method) -> Method:
        """Write in pieces: the stream waits its timeout for each part that the kernel takes."""

        def write(stream: Any, buffer: bytes, timeout: Optional[float] = None) -> None:
            exchange = active.get()
            if exchange is None:
                original(stream, buffer, timeout)
                return
            if exchange.dry_run is not None:
                with exchange.dry_run.wait(exchange.limits.read, timeout):
                    original(stream, buffer, timeout)
                return
            silence = begin_write(exchange, stream, buffer, timeout)
            try:
                for start in range(0, len(buffer), SLICE_BYTES):
                    wait = finite(exchange.wait(silence.seconds))
                    _registered(
                        original,
                        stream,
                        buffer[start : start + SLICE_BYTES],
                        wait,
                        exchange,
                    )
            except (TimedOut, self._module.WriteTimeout) as error:
                raise ended(self._module.WriteTimeout, error, exchange, timeout)  # noqa: B904

        return write

    def wait_for_connection(self, original: Method) -> Method:
        """Bound the wait for a connection of the pool."""

        def wait_for_connection(request: Any, timeout: Optional[float] = None) -> Any:
            exchange = active.get()
            if exchange is None or exchange.dry_run is not None:
                return original(request, timeout)
            exchange.phase = "pool"
            silence = silence_of(timeout, Limit(math.inf, "", "nothing"))
            try:
                return original(request, finite(exchange.wait(silence.seconds)))
            except (TimedOut, self._module.PoolTimeout) as error:
                raise ended(self._module.PoolTimeout, error, exchange, timeout)  # noqa: B904

        return wait_for_connection

    def enter_lock(self, original: Method) -> Method:
        """Wait no longer than is left for another call to read from the shared connection."""

        def enter(lock: Any) -> Any:
            exchange = active.get()
            if exchange is None or exchange.dry_run is not None:
                return original(lock)
            if not lock._lock.acquire(timeout=shared_wait(exchange)):
                if exchange.phase != "body":
                    exchange.phase = "headers"
                raise own_kind(self._module.ReadTimeout, exchange.silent(None))
            return lock

        return enter

    def acquire(self, original: Method) -> Method:
        """Wait no longer than is left for the other side to take one more call."""

        def acquire(semaphore: Any) -> None:
            exchange = active.get()
            if exchange is None or exchange.dry_run is not None:
                original(semaphore)
            elif not semaphore._semaphore.acquire(timeout=shared_wait(exchange)):
                exchange.phase = "pool"
                raise own_kind(self._module.PoolTimeout, exchange.silent(None))

        return acquire

    def connect_tcp(self, original: Method) -> Method:
        """Connect with all addresses sharing one limit, which the TLS handshake shares too."""
        own = is_clients_own(original, f"{self._module.__name__}._backends.sync")

        def connect_tcp(backend: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = active.get()
            if exchange is None:
                return original(backend, *args, **kwargs)
            if exchange.dry_run is not None:
                with exchange.dry_run.wait(exchange.limits.connect, kwargs.get("timeout")):
                    return original(backend, *args, **kwargs)
            if not (own and is_original(socket.create_connection)):
                return self._connect_as_ever(original, backend, exchange, *args, **kwargs)
            return self._stream(self._socket(exchange, *args, **kwargs))

        return connect_tcp

    def _connect_as_ever(
        self,
        original: Method,
        backend: Any,
        exchange: Exchange,
        host: str,
        port: int,
        timeout: Optional[float] = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Connect by a replacement of the original, or of `socket.create_connection`."""
        exchange.begin_connect(timeout)
        try:
            return original(backend, host, port, finite(exchange.wait(math.inf)), *args, **kwargs)
        except self._module.ConnectTimeout as error:
            raise own_kind(
                self._module.ConnectTimeout, exchange.give_up(exchange.why), error
            ) from error
        finally:
            exchange.end_connect()

    def _socket(
        self,
        exchange: Exchange,
        host: str,
        port: int,
        timeout: Optional[float] = None,
        local_address: Optional[str] = None,
        socket_options: Any = None,
    ) -> Any:
        options = [*(socket_options or ()), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        source = None if local_address is None else (local_address, 0)
        exchange.begin_connect(timeout)
        try:
            return create_connection(exchange, (host, port), source, options)
        except socket.timeout as error:  # a limit of ours, or the caller's number
            raise own_kind(self._module.ConnectTimeout, error) from error
        except OSError as error:
            raise self._module.ConnectError(str(error)) from error
        finally:
            exchange.end_connect()

    def start_tls(self, original: Method) -> Method:
        """Bound the handshake by what is left of the limit for connecting."""

        def start_tls(
            stream: Any,
            ssl_context: Any,
            server_hostname: Any = None,
            timeout: Optional[float] = None,
        ) -> Any:
            exchange = active.get()
            if exchange is None or exchange.dry_run is not None:
                return original(stream, ssl_context, server_hostname, timeout)
            exchange.resume_connect()
            exchange.phase = "tls"
            exchange.guard_handshake(stream._sock)
            try:
                return original(
                    stream, ssl_context, server_hostname, finite(exchange.wait(math.inf))
                )
            except (TimedOut, self._module.ConnectTimeout) as error:
                ours = error if isinstance(error, TimedOut) else exchange.give_up(exchange.why)
                raise own_kind(self._module.ConnectTimeout, ours, error)  # noqa: B904
            except self._module.ConnectError as error:
                if not exchange.handshake_was_interrupted():
                    raise
                ours = exchange.interrupted()
                raise own_kind(self._module.ConnectTimeout, ours, error) from error
            finally:
                exchange.end_connect()

        return start_tls


def shared_wait(exchange: Exchange) -> float:
    """Return how long to wait for others: also when time is up, a moment, for what has to be tidied
    up then.
    """
    left, silence = max(exchange.end - SYSTEM.monotonic(), _MOMENT), exchange.limits.read.seconds
    exchange.shortened = left < silence
    return min(left, silence, threading.TIMEOUT_MAX)


def _registered(
    original: Method, stream: Any, what: Any, wait: Optional[float], exchange: Exchange
) -> Any:
    """Read or write while the watchdog of requests may end it. Raises `TimedOut` if it does."""
    if not exchange.can_be_interrupted or hasattr(stream, SHARED):
        return original(stream, what, wait)
    with interruptible(functools.partial(cut, stream._sock), exchange) as ours:
        try:
            result = original(stream, what, wait)
        except Exception:
            if not ours.disarm():
                raise
    if ours.interrupted:
        raise exchange.interrupted()
    if exchange.phase == "body":
        exchange.touch()
    return result


def begin_write(exchange: Exchange, stream: Any, buffer: bytes, timeout: Optional[float]) -> Limit:
    """Note what is about to be written; return the silence that is allowed."""
    # a request to a proxy; what follows on the connection is TLS
    if buffer[: len(TUNNEL)] == TUNNEL:
        exchange.resume_connect()
    if buffer[: len(PREFACE)] == PREFACE:
        setattr(stream, SHARED, True)
    if not exchange.connecting:
        exchange.phase = "send"
    silence = silence_of(timeout, exchange.limits.read)
    if silence.seconds > exchange.stretches_above and timeout is not None:
        exchange.stretch(timeout)
    return silence


def silence_of(asked: Optional[float], default: Limit) -> Limit:
    """Return the limit of a wait: the caller's number, if it gave one."""
    return default if asked is None else Limit(asked, "", "caller")


def finite(wait: float) -> Optional[float]:
    """Return a wait as httpcore takes it: None has no end."""
    return None if wait == math.inf else wait


def ended(kind: Any, error: Any, exchange: Exchange, asked: Optional[float]) -> Any:
    """Return the exception for a wait that a limit of ours, or of the caller's, has ended.

    It brings its cause along.
    """
    ours = error if isinstance(error, TimedOut) else exchange.silent(asked)
    return own_kind(kind, ours, error)


def own_kind(kind: Any, reason: socket.timeout, error: Any = None) -> Any:
    """Return httpcore's own exception, as it makes it of what a socket raises.

    `error` is the one that it has made already, which stays where the limit was the caller's.
    """
    if error is None or isinstance(reason, TimedOut):
        error = kind(str(reason))
        error.__cause__ = reason
        if isinstance(reason, TimedOut):
            error.limit = reason  # httpcore's pool raises it again, `from None`
    return error
