"""httpcore and httpcore2, their asynchronous side, on asyncio and trio: each wait takes a timeout,
which is bounded here by what is left.

It is the client itself that ends a wait, as it does for a timeout of its own: nothing is cancelled
here but the wait for a lock that other calls hold.
"""

from __future__ import annotations

import functools
import math
import sys
from importlib import import_module
from typing import Any, Callable, Optional

from ...core.patching import Patches
from ...deadline import interruptible
from ..call_async import mine
from ..exceptions import TimedOut
from ..exchange import Exchange
from ..policy import Limit
from ..socket_timeouts import SLICE_BYTES
from . import asyncio_dns
from .httpcore import SHARED, begin_write, ended, finite, own_kind, shared_wait, silence_of

Method = Callable[..., Any]

_BACKENDS = (("anyio", "AnyIO"), ("trio", "Trio"))


def patch(module: Any, patches: Patches) -> None:
    """Wrap the streams, the making of connections and the wait for a pooled one."""
    name = module.__name__
    asyncio_dns.patch(patches)
    client = _AsyncHttpcore(module)
    for backend, prefix in _BACKENDS:
        # httpcore has imported those that are there
        loaded = sys.modules.get(f"{name}._backends.{backend}")
        if loaded is not None:
            stream = getattr(loaded, f"{prefix}Stream")
            patches.wrap(getattr(loaded, f"{prefix}Backend"), "connect_tcp", client.connect_tcp)
            patches.wrap(stream, "read", client.read)
            patches.wrap(stream, "write", client.write)
            patches.wrap(stream, "start_tls", client.start_tls)
    pool = import_module(f"{name}._async.connection_pool")
    waits = getattr(pool, "AsyncPoolRequest", None) or pool.RequestStatus  # before 1.0
    patches.wrap(waits, "wait_for_connection", client.wait_for_connection)
    # HTTP/2: calls that share a connection wait for each other, without a timeout of their own
    locks = import_module(f"{name}._synchronization")
    patches.wrap(locks.AsyncLock, "__aenter__", client.enter_lock)
    patches.wrap(locks.AsyncSemaphore, "acquire", client.acquire)


class _AsyncHttpcore:
    """The wrappers that need the exceptions of the httpcore that was imported."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def read(self, original: Method) -> Method:
        """Bound a read."""

        async def read(stream: Any, max_bytes: int, timeout: Optional[float] = None) -> Any:
            exchange = mine()
            if exchange is None:
                return await original(stream, max_bytes, timeout)
            if exchange.dry_run is not None:
                with exchange.dry_run.wait(exchange.limits.read, timeout):
                    return await original(stream, max_bytes, timeout)
            if exchange.phase != "body" and not exchange.connecting:
                exchange.phase = "headers"
            silence = silence_of(timeout, exchange.limits.read)
            if silence.seconds > exchange.stretches_above and timeout is not None:
                exchange.stretch(timeout, answer=not exchange.connecting)
            try:
                wait = finite(exchange.wait(silence.seconds))
                return await _registered(original, stream, max_bytes, wait, exchange)
            except (TimedOut, self._module.ReadTimeout) as error:
                if not isinstance(error, TimedOut) and exchange.outlived():
                    return await read(stream, max_bytes, timeout)
                raise ended(self._module.ReadTimeout, error, exchange, timeout)  # noqa: B904

        return read

    def write(self, original: Method) -> Method:
        """Write in pieces: the stream waits its timeout for everything that it is given."""

        async def write(stream: Any, buffer: bytes, timeout: Optional[float] = None) -> None:
            exchange = mine()
            if exchange is None:
                await original(stream, buffer, timeout)
                return
            if exchange.dry_run is not None:
                with exchange.dry_run.wait(exchange.limits.read, timeout):
                    await original(stream, buffer, timeout)
                return
            silence = begin_write(exchange, stream, buffer, timeout)
            try:
                for start in range(0, len(buffer), SLICE_BYTES):
                    wait = finite(exchange.wait(silence.seconds))
                    piece = buffer[start : start + SLICE_BYTES]
                    await _registered(original, stream, piece, wait, exchange)
            except (TimedOut, self._module.WriteTimeout) as error:
                raise ended(self._module.WriteTimeout, error, exchange, timeout)  # noqa: B904

        return write

    def wait_for_connection(self, original: Method) -> Method:
        """Bound the wait for a connection of the pool."""

        async def bounded(request: Any, timeout: Optional[float]) -> Any:
            exchange = mine()
            if exchange is None or exchange.dry_run is not None:
                return await original(request, timeout)
            exchange.phase = "pool"
            silence = silence_of(timeout, Limit(math.inf, "", "nothing"))
            try:
                return await original(request, finite(exchange.wait(silence.seconds)))
            except (TimedOut, self._module.PoolTimeout) as error:
                raise ended(self._module.PoolTimeout, error, exchange, timeout)  # noqa: B904

        def wait_for_connection(request: Any, timeout: Optional[float] = None) -> Any:
            waits = request.connection is None
            return bounded(request, timeout) if waits else original(request, timeout)

        return wait_for_connection

    def enter_lock(self, original: Method) -> Method:
        """Wait no longer than is left for another call to read from the shared connection."""

        async def bounded(lock: Any) -> Any:
            exchange = mine()
            if exchange is None or exchange.dry_run is not None:
                return await original(lock)
            if not await _within(shared_wait(exchange), original, lock):
                if exchange.phase != "body":
                    exchange.phase = "headers"
                raise own_kind(self._module.ReadTimeout, exchange.silent(None))
            return lock

        def enter(lock: Any) -> Any:
            held = getattr(lock, "_anyio_lock", None) or getattr(lock, "_trio_lock", None)
            return bounded(lock) if held and held.locked() else original(lock)

        return enter

    def acquire(self, original: Method) -> Method:
        """Wait no longer than is left for the other side to take one more call."""

        async def acquire(semaphore: Any) -> None:
            exchange = mine()
            if exchange is None or exchange.dry_run is not None:
                await original(semaphore)
            elif not await _within(shared_wait(exchange), original, semaphore):
                exchange.phase = "pool"
                raise own_kind(self._module.PoolTimeout, exchange.silent(None))

        return acquire

    def connect_tcp(self, original: Method) -> Method:
        """Connect with DNS and all addresses sharing one limit, which the TLS handshake shares too.

        The caller's own number has always held for all of them here.
        """

        async def connect_tcp(
            backend: Any,
            host: str,
            port: int,
            timeout: Optional[float] = None,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            exchange = mine()
            if exchange is None:
                return await original(backend, host, port, timeout, *args, **kwargs)
            if exchange.dry_run is not None:
                with exchange.dry_run.wait(exchange.limits.connect, timeout):
                    return await original(backend, host, port, timeout, *args, **kwargs)
            exchange.begin_connect(timeout)
            try:
                wait = finite(exchange.wait(math.inf))
                return await original(backend, host, port, wait, *args, **kwargs)
            except (TimedOut, self._module.ConnectTimeout) as error:
                raise self._not_connected(error, exchange)  # noqa: B904
            finally:
                exchange.end_connect()

        return connect_tcp

    def start_tls(self, original: Method) -> Method:
        """Bound the handshake by what is left of the limit for connecting."""

        async def start_tls(
            stream: Any,
            ssl_context: Any,
            server_hostname: Any = None,
            timeout: Optional[float] = None,
        ) -> Any:
            exchange = mine()
            if exchange is None or exchange.dry_run is not None:
                return await original(stream, ssl_context, server_hostname, timeout)
            exchange.resume_connect()
            exchange.phase = "tls"
            try:
                wait = finite(exchange.wait(math.inf))
                return await original(stream, ssl_context, server_hostname, wait)
            except (TimedOut, self._module.ConnectTimeout) as error:
                raise self._not_connected(error, exchange)  # noqa: B904
            finally:
                exchange.end_connect()

        return start_tls

    def _not_connected(self, error: Any, exchange: Exchange) -> Any:
        ours = error if isinstance(error, TimedOut) else exchange.give_up(exchange.why)
        return own_kind(self._module.ConnectTimeout, ours, error)


async def _within(seconds: float, function: Method, *args: Any) -> bool:
    """Await what takes something that others may hold; return whether it came about in time."""
    import anyio  # httpcore's, for both backends

    with anyio.move_on_after(seconds):
        await function(*args)
        return True
    return False


async def _registered(
    original: Method, stream: Any, what: Any, wait: Optional[float], exchange: Exchange
) -> Any:
    """Read or write while the watchdog of requests may end it. Raises `TimedOut` if it does."""
    if not exchange.in_request or hasattr(stream, SHARED):
        return await original(stream, what, wait)
    with interruptible(functools.partial(_cut, stream), exchange) as ours:
        try:
            result = await original(stream, what, wait)
        except Exception:
            if not ours.disarm():
                raise
    if ours.interrupted:
        raise exchange.interrupted()
    return result


def _cut(stream: Any) -> None:
    """Have the event loop find the end of the connection: it may run in another thread."""
    sock = stream.get_extra_info("socket")
    sock.shutdown(2)  # SHUT_RDWR, of asyncio's and trio's sockets as of the system's
