"""websocket-client: connecting and the handshake are one exchange; in a request each frame is
waited for within its limits.

Outside of requests a connection may be silent for as long as it likes: it is there to be told
something some day.
"""

from __future__ import annotations

import functools
import math
import socket
from importlib import import_module
from typing import Any, Callable, Optional

from ... import deadline
from ...core.patching import Patches
from .. import call, exceptions
from ..connect import connect_to
from ..exceptions import TimedOut
from ..exchange import Exchange, active, as_number
from ..policy import Limit, installed
from ..socket_timeouts import cut, restore_timeout, set_timeout, waits
from ..unpatched_socket import connects_natively

Method = Callable[..., Any]

_NAMES = ("_socket", "_http", "_handshake", "_core")  # which have imported `recv` and `send`
_CONNECTING = ("dns", "connect", "tls")


def patch(module: Any, patches: Patches) -> None:
    """Wrap connecting, and what waits for bytes."""
    client = _Websocket(module)
    patches.wrap(module.WebSocket, "connect", client.connect)
    http = import_module("websocket._http")
    patches.wrap(http, "_open_socket", client.open_socket)
    patches.wrap(http, "_ssl_socket", client.ssl_socket)
    for name in _NAMES:
        where = import_module(f"websocket.{name}")
        patches.wrap(where, "recv", client.waiting("headers"))
        patches.wrap(where, "send", client.waiting("send"))


class _Websocket:
    """The wrappers that need the classes of the package that was imported."""

    def __init__(self, module: Any) -> None:
        self._timeout = module.WebSocketTimeoutException
        self._options = import_module("websocket._socket").DEFAULT_SOCKET_OPTION

    def translate(
        self, error: Exception, failure: TimedOut, _exchange: Exchange
    ) -> Optional[Exception]:
        """Return a timeout of the client's that is also ours; while it connects, what sockets raise
        is its own.
        """
        if isinstance(error, self._timeout):
            exceptions.become(error, type(error), failure)
            return None
        if failure.phase in _CONNECTING:
            return None
        return exceptions.instead(self._timeout, failure, error)

    def connect(self, original: Method) -> Method:
        """One exchange over redirects, up to the end of the handshake."""

        def connect(websocket: Any, url: Any, **options: Any) -> Any:
            own = as_number(options.get("timeout", websocket.sock_opt.timeout))
            return call.around(
                original, (websocket, url), options, url, self.translate,
                timeout_given=own is not None, streams=True, method="GET",
            )  # fmt: skip

        return connect

    def open_socket(self, original: Method) -> Method:
        """Connect with all addresses sharing one limit, which the TLS handshake shares too."""

        def open_socket(infos: Any, options: Any, timeout: Any) -> Any:
            exchange = active.get()
            if exchange is None or exchange.connecting:
                return original(infos, options, timeout)
            own = as_number(timeout)
            if exchange.dry_run is not None:
                with exchange.dry_run.wait(exchange.limits.connect, own):
                    return original(infos, options, timeout)
            exchange.begin_connect(own)
            try:
                if connects_natively():
                    sock = connect_to(exchange, infos, None, [*self._options, *options])
                else:
                    wait = exchange.wait(math.inf)
                    sock = original(infos, options, None if wait == math.inf else wait)
            finally:
                exchange.end_connect()
            sock.settimeout(timeout)
            return sock

        return open_socket

    def ssl_socket(self, original: Method) -> Method:
        """Bound the handshake of TLS by what is left of the limit for connecting."""

        def ssl_socket(sock: Any, *args: Any) -> Any:
            exchange = active.get()
            if exchange is None or exchange.dry_run is not None:
                return original(sock, *args)
            own = sock.gettimeout()
            exchange.resume_connect()
            exchange.phase = "tls"
            try:
                set_timeout(sock, exchange.wait(math.inf))
                encrypted = original(sock, *args)
            except socket.timeout as error:
                ours = error if isinstance(error, TimedOut) else exchange.give_up(exchange.why)
                raise (ours if isinstance(ours, TimedOut) else error) from None
            finally:
                exchange.end_connect()
            encrypted.settimeout(own)
            return encrypted

        return ssl_socket

    def waiting(self, phase: Any) -> Callable[[Method], Method]:
        """Bound a wait for bytes, or for room to send them."""

        def wrap(original: Method) -> Method:
            def wait(sock: Any, what: Any) -> Any:
                exchange = active.get() or _of_a_frame(sock)
                if exchange is None or not waits(sock and sock.gettimeout()):
                    return original(sock, what)
                if exchange.dry_run is not None:
                    with exchange.dry_run.wait(exchange.limits.read, sock.gettimeout()):
                        return original(sock, what)
                if not exchange.connecting:
                    exchange.phase = phase
                try:
                    return self._wait(original, sock, what, exchange)
                except TimedOut as failure:
                    raise exceptions.instead(self._timeout, failure, failure) from None

            return wait

        return wrap

    def _wait(self, original: Method, sock: Any, what: Any, exchange: Exchange) -> Any:
        own = sock.gettimeout()
        if own is not None:
            exchange.stretch(own)
        set_timeout(sock, exchange.wait(exchange.limits.read.seconds if own is None else own))
        with deadline.interruptible(functools.partial(cut, sock), exchange) as ours:
            try:
                return original(sock, what)
            except self._timeout:
                found = exchange.silent(own)
                if isinstance(found, TimedOut):
                    raise found from None
                raise
            except Exception:
                if ours.disarm():
                    raise exchange.interrupted() from None
                raise
            finally:
                restore_timeout(sock, own)


def _of_a_frame(sock: Any) -> Optional[Exchange]:
    """Return the limits of a frame: those of a stream in a request, elsewhere a deadline alone."""
    in_request = deadline.in_request()
    if not installed.policy.on or not (in_request or deadline.current()) or not sock:
        return None
    try:
        exchange = call.admit(sock.getpeername()[:2])
    except (OSError, AttributeError):  # not connected; not a socket, but like it
        return None
    if exchange is not None:
        exchange.release()
        if not in_request:
            exchange.limits = exchange.limits._replace(read=Limit(math.inf, "", "nothing"))
    return exchange
