"""http.client, which urllib.request, urllib3 and requests use: connecting, sending, reading,
each bounded here.

Where a client above owns the exchange, this joins it. Else the exchange begins with the first thing
that is sent and is handed from the connection to the response, whose body the total covers.
"""

from __future__ import annotations

import functools
import math
import socket
from typing import Any, Callable, Optional

from ...core.patching import Patches
from ...deadline import PASSED_ON, to_pass_on
from .. import call, socket_timeouts
from ..connect import create_connection
from ..exceptions import TimedOut
from ..exchange import SLACK, Exchange, active, as_number
from ..policy import guard, installed
from ..unpatched_socket import is_original

_ATTRIBUTE = "_resilient_wsgi_exchange"

Method = Callable[..., Any]


def patch(module: Any, patches: Patches) -> None:
    """Wrap the connections and the response."""
    if installed.policy.pass_deadline:
        patches.wrap(module.HTTPConnection, "endheaders", _endheaders)
    patches.wrap(module.HTTPConnection, "send", _send)
    patches.wrap(module.HTTPConnection, "getresponse", _getresponse)
    patches.wrap(module.HTTPConnection, "close", _close)
    patches.wrap(module.HTTPResponse, "__init__", _init_response)
    patches.wrap(module.HTTPConnection, "connect", connect)
    if hasattr(module, "HTTPSConnection"):  # Python may have been built without TLS
        patches.wrap(module.HTTPSConnection, "connect", connect)


def connect(original: Method) -> Method:
    """Have DNS, all addresses, a proxy's tunnel and TLS share one limit; then give the socket its
    own timeout.
    """

    def wrapper(conn: Any, *args: Any, **kwargs: Any) -> Any:
        exchange = active.get() or conn.__dict__.get(_ATTRIBUTE) or _admit(conn)
        if exchange is None or exchange.connecting:
            return original(conn, *args, **kwargs)
        if exchange.dry_run is not None:
            with exchange.dry_run.wait(exchange.limits.connect, _own_timeout(conn.timeout)):
                return original(conn, *args, **kwargs)
        asked, own = conn.timeout, _own_timeout(conn.timeout)
        exchange.begin_connect(own)
        token = active.set(exchange)
        theirs = getattr(conn, "_create_connection", None)
        uses_ours = is_original(theirs)
        try:
            if uses_ours:
                conn._create_connection = functools.partial(_create_connection, exchange)
            # for a class that makes its connection in a way of its own
            conn.timeout = _at_most(own, exchange.wait(math.inf))
            return original(conn, *args, **kwargs)
        except OSError as error:
            ours = _ended_handshake(exchange, error)
            if ours is None:
                raise
            raise ours from None
        finally:
            active.reset(token)
            exchange.end_connect()
            conn.timeout = asked
            if uses_ours:
                conn._create_connection = theirs
            if socket_timeouts.has_timeout(conn.sock):
                socket_timeouts.restore_timeout(conn.sock, own)

    return wrapper


def _ended_handshake(exchange: Exchange, error: OSError) -> Optional[TimedOut]:
    """Return what to raise if a TLS handshake took too long, or was ended; else None: everything
    else in connecting raises exceptions of ours.
    """
    if isinstance(error, TimedOut):
        return None
    if exchange.handshake_was_interrupted():
        exchange.phase = "tls"
        ours = exchange.interrupted()
    elif isinstance(error, socket.timeout) and exchange.expired():
        exchange.phase = "tls"
        ours = exchange.give_up(exchange.why)
    else:
        return None
    # where the caller's number has ended it, the client's own exception says so
    return ours if isinstance(ours, TimedOut) else None


def _create_connection(
    exchange: Exchange, address: Any, timeout: Any = None, source_address: Any = None
) -> Any:
    return create_connection(exchange, address, source_address)


def _endheaders(original: Method) -> Method:
    """Send what is left of the request's deadline along, unless the caller has done so."""

    def endheaders(conn: Any, *args: Any, **kwargs: Any) -> Any:
        if installed.policy.pass_deadline:  # it may have been asked for at first, and not any more
            with guard:
                left = to_pass_on()
                named = PASSED_ON.lower().encode()
                if left is not None and not any(
                    line.lower().startswith(named) for line in conn._buffer
                ):
                    conn.putheader(PASSED_ON, left)
        return original(conn, *args, **kwargs)

    return endheaders


def _send(original: Method) -> Method:
    """Send in pieces, each within the limits; a file or an iterable block by block."""

    def send(conn: Any, data: Any) -> Any:
        exchange = active.get()
        if exchange is not None:
            return _send_within(original, conn, data, exchange)
        exchange = _own_exchange(conn)
        if exchange is None:
            return original(conn, data)
        if not exchange.head and type(data) is bytes:
            exchange.head = data
        exchange.resume()
        try:
            return _send_within(original, conn, data, exchange)
        finally:
            exchange.pause()

    return send


def _send_within(original: Method, conn: Any, data: Any, exchange: Exchange) -> Any:
    if exchange.dry_run is not None:
        with exchange.dry_run.wait(exchange.limits.read, _own_timeout(conn.timeout)):
            return original(conn, data)
    if conn.sock is None and conn.auto_open:
        conn.connect()
    if not socket_timeouts.has_timeout(conn.sock):
        return original(conn, data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return socket_timeouts.send(original, conn, data, exchange)
    blocks = conn._read_readable(data) if hasattr(data, "read") else data
    if isinstance(blocks, str) or not hasattr(blocks, "__iter__"):
        return original(conn, data)  # which says what is wrong with it
    for block in blocks:
        socket_timeouts.send(original, conn, block, exchange)
    return None


def _getresponse(original: Method) -> Method:
    """Wait for the headers within the limits, and hand the exchange to the response."""

    def getresponse(conn: Any) -> Any:
        exchange = active.get()
        if exchange is None:
            return _getresponse_alone(original, conn)
        exchange.sent()
        response = original(conn)
        exchange.answer()
        if not exchange.has_stream_flag:
            _keep_silence_only(response, exchange)
        return response

    return getresponse


def _getresponse_alone(original: Method, conn: Any) -> Any:
    exchange = conn.__dict__.pop(_ATTRIBUTE, None)
    if exchange is None:
        return original(conn)
    token = active.set(exchange)
    exchange.resume()
    try:
        exchange.sent()
        response = original(conn)
        exchange.answer()
        _keep_silence_only(response, exchange)
    finally:
        active.reset(token)
        exchange.pause()
        if installed.policy.notes_calls:
            call.observe(
                exchange, as_number(_own_timeout(conn.timeout)) is not None, conn.timeout is None
            )
    return response


def _close(original: Method) -> Method:
    """Forget the exchange: what is sent after this is another."""

    def close(conn: Any) -> Any:
        exchange = conn.__dict__.pop(_ATTRIBUTE, None)
        if exchange is not None:
            exchange.leave(None)
        return original(conn)

    return close


def _init_response(original: Method) -> Method:
    """Have the reads of the response end with the exchange."""

    # the arguments are written out, and handed on by position: it is part of the cost of every call
    def init(
        response: Any, sock: Any, debuglevel: Any = 0, method: Any = None, url: Any = None
    ) -> None:
        original(response, sock, debuglevel, method, url)
        exchange = active.get()
        if exchange is not None:
            try:
                if exchange.dry_run is None:
                    socket_timeouts.bound_reads(response, exchange)
                else:
                    from ..dry_run import measure_reads

                    over = functools.partial(call.observe_body, exchange)
                    measure_reads(response, exchange.dry_run, exchange.limits.read, over)
            except Exception as error:
                guard.report(error)

    return init


def _own_exchange(conn: Any) -> Optional[Exchange]:
    exchange: Optional[Exchange] = conn.__dict__.get(_ATTRIBUTE)
    if exchange is None:
        exchange = _admit(conn)
        if exchange is not None:
            exchange.enter((conn.host, conn.port))
        conn.__dict__[_ATTRIBUTE] = exchange
    return exchange


def _admit(conn: Any) -> Optional[Exchange]:
    host = getattr(conn, "_tunnel_host", None) or conn.host
    return call.admit((host, conn.port), none_given=conn.timeout is None, has_stream_flag=False)


def _keep_silence_only(response: Any, exchange: Exchange) -> None:
    """Lift the total for what is meant to last: a connection that was upgraded, a stream of
    server-sent events.
    """
    with guard:
        if response.status == 101:
            exchange.release()
            if isinstance(getattr(response.fp, "raw", None), socket_timeouts.BoundedSocketIO):
                response.fp.raw.restore()  # the app uses the socket itself
        elif response.headers.get_content_type() == "text/event-stream":
            exchange.release()


def _own_timeout(timeout: Any) -> Optional[float]:
    return (
        socket.getdefaulttimeout()
        if timeout is not None and as_number(timeout) is None
        else timeout
    )


def _at_most(own: Optional[float], wait: float) -> Optional[float]:
    if wait == math.inf:
        return own
    return wait if own is None or own > wait + SLACK else own
