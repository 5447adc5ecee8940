"""http.client, on which urllib.request, urllib3 and requests ride: connecting, sending, reading, each bounded here.

Where a client above owns the exchange, this joins it. Else the exchange begins with `putrequest` and is handed from the
connection to the response, whose body the total covers.
"""

from __future__ import annotations

import functools
import socket
from typing import Any, Callable, Optional

from .. import call, clamp
from ..connect import create_connection
from ..exchange import Exchange, active, as_number
from ..patching import Patches

MODULE = "http.client"

_ATTRIBUTE = "_resilient_wsgi_exchange"
_not_given = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]


def patch(module: Any, patches: Patches) -> None:
    """Wrap the connections and the response."""
    patches.wrap(module.HTTPConnection, "putrequest", putrequest)
    patches.wrap(module.HTTPConnection, "send", send)
    patches.wrap(module.HTTPConnection, "getresponse", getresponse)
    patches.wrap(module.HTTPResponse, "__init__", init_response)
    patch_connect(module.HTTPConnection, patches)
    if hasattr(module, "HTTPSConnection"):  # Python may have been built without TLS
        patch_connect(module.HTTPSConnection, patches)


def patch_connect(connection_class: Any, patches: Patches) -> None:
    """Wrap `connect` of a class of connections that derives from http.client's."""
    patches.wrap(connection_class, "connect", connect)


def putrequest(wrapped: Callable[..., Any], conn: Any, args: Any, kwargs: Any) -> Any:
    """Begin an exchange of the connection's own where nobody owns one."""
    if active.get() is None:
        conn.__dict__[_ATTRIBUTE] = _begin(conn)
    return wrapped(*args, **kwargs)


def connect(wrapped: Callable[..., Any], conn: Any, args: Any, kwargs: Any) -> Any:
    """Have DNS, all addresses, a proxy's tunnel and TLS share one limit; then give the socket its own timeout."""
    exchange = active.get() or conn.__dict__.get(_ATTRIBUTE) or _begin(conn)
    if exchange is None or exchange.report or exchange.connecting:
        return wrapped(*args, **kwargs)
    asked, own = conn.timeout, _own_timeout(conn.timeout)
    exchange.begin_connect(own)
    token = active.set(exchange)
    uses_ours = getattr(conn, "_create_connection", None) is socket.create_connection
    try:
        if uses_ours:
            conn._create_connection = functools.partial(_create_connection, exchange)
        # for a class that makes its connection in a way of its own
        conn.timeout = _at_most(own, exchange.wait(exchange.limits.connect.seconds))
        return wrapped(*args, **kwargs)
    except socket.timeout as error:
        if exchange.failure is error or not exchange.expired():
            raise
        raise exchange.give_up(exchange.why) from error
    finally:
        active.reset(token)
        exchange.end_connect()
        conn.timeout = asked
        if uses_ours:
            conn._create_connection = socket.create_connection
        if conn.sock is not None and hasattr(conn.sock, "settimeout"):
            clamp.restore_timeout(conn.sock, own)


def _create_connection(exchange: Exchange, address: Any, timeout: Any = None, source_address: Any = None) -> Any:
    return create_connection(exchange, address, source_address)


def send(wrapped: Callable[..., Any], conn: Any, args: Any, kwargs: Any) -> Any:
    """Send in pieces, each within the limits; a file or an iterable block by block."""
    exchange = active.get() or conn.__dict__.get(_ATTRIBUTE)
    if exchange is None or exchange.report or kwargs or len(args) != 1:
        return wrapped(*args, **kwargs)
    if conn.sock is None and conn.auto_open:
        conn.connect()
    sock, data = conn.sock, args[0]
    if sock is None or not hasattr(sock, "gettimeout"):
        return wrapped(data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return clamp.send(wrapped, sock, data, exchange)
    blocks = conn._read_readable(data) if hasattr(data, "read") else data
    if isinstance(blocks, str) or not hasattr(blocks, "__iter__"):
        return wrapped(data)  # which says what is wrong with it
    for block in blocks:
        clamp.send(wrapped, sock, block, exchange)
    return None


def getresponse(wrapped: Callable[..., Any], conn: Any, args: Any, kwargs: Any) -> Any:
    """Wait for the headers within the limits, and hand the exchange to the response."""
    owner = active.get()
    exchange = owner or conn.__dict__.pop(_ATTRIBUTE, None)
    if exchange is None:
        return wrapped(*args, **kwargs)
    exchange.phase = "headers"
    token = active.set(exchange) if owner is None else None
    try:
        response = wrapped(*args, **kwargs)
    finally:
        if token is not None:
            active.reset(token)
            call.observe(exchange, as_number(_own_timeout(conn.timeout)) is not None, conn.timeout is None)
    exchange.phase = "body"
    if response.status == 101 or not exchange.flagged:
        with call.guard:
            _keep_silence_only(response, exchange)
    return response


def init_response(wrapped: Callable[..., Any], response: Any, args: Any, kwargs: Any) -> None:
    """Have the reads of the response end with the exchange."""
    wrapped(*args, **kwargs)
    exchange = active.get()
    if exchange is not None and not exchange.report:
        with call.guard:
            clamp.bound_reads(response, exchange)


def _begin(conn: Any) -> Optional[Exchange]:
    host = getattr(conn, "_tunnel_host", None) or conn.host
    return call.begin((host, conn.port), none_given=conn.timeout is None, flagged=False)


def _keep_silence_only(response: Any, exchange: Exchange) -> None:
    """Lift the total for what is meant to last: a connection that was upgraded, a stream of server-sent events."""
    if response.status == 101:
        exchange.release()
        if isinstance(getattr(response.fp, "raw", None), clamp.BoundedSocketIO):
            response.fp.raw.restore()  # whoever asked for the upgrade uses the socket itself
    elif response.headers.get_content_type() == "text/event-stream":
        exchange.release()


def _own_timeout(timeout: Any) -> Optional[float]:
    return socket.getdefaulttimeout() if timeout is not None and as_number(timeout) is None else timeout


def _at_most(own: Optional[float], wait: float) -> Optional[float]:
    if wait == float("inf"):
        return own
    return wait if own is None or own > wait + 0.001 else own
