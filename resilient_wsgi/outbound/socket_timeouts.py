"""Socket timeouts that follow the exchange: no single read or write waits longer than what is left.

A socket's timeout limits one system call, so an upstream that sends a byte a second never meets it.
Here it is set again as the time runs out. That costs nothing until then: as long as more time is
left than a read may be silent, it stays as it is.
"""

from __future__ import annotations

import functools
import math
import select
import socket
import sys
from typing import Any, Callable, Iterator, List, Optional, Tuple

from ..core.system import SYSTEM
from ..deadline import Interruptible, interruptible
from .exceptions import TimedOut
from .exchange import SLACK, Exchange
from .policy import Limit

_TLS_RECORD_BYTES = 16 * 1024
SLICE_BYTES = 64 * 1024

_NOT_SEEN = object()

_recv_into = socket.socket.recv_into
_readinto = socket.SocketIO.readinto
_close = socket.SocketIO.close
_NEVER = -1.0

_LONGEST_POLL = 2**31 / 1000 - 1  # poll takes milliseconds as a C int


class BoundedSocketIO(socket.SocketIO):
    """The raw stream of a response whose reads end with the exchange.

    It closes with the response, and then restores.
    """

    _exchange: Optional[Exchange] = None
    # of the host that answers: a call to another one may come before the body is read
    _silence: Limit
    _own: Optional[float] = None
    _set: Any = _NOT_SEEN  # what we have set the timeout to; anything else is the socket's own
    # the same while it is the whole silence that is allowed: then there is nothing to set
    _full = _NEVER
    _sock: Any
    _wait: Optional[Interruptible] = None

    def readinto(self, buffer: Any) -> Optional[int]:
        """Read as the base does; raise `TimedOut` when a limit of ours is met."""
        exchange, sock = self._exchange, self._sock
        if exchange is None or sock is None:
            return _readinto(self, buffer)
        if exchange.has_stream_flag and not exchange.away:
            return self._read(exchange, sock, buffer)
        exchange.resume()
        try:
            return self._read(exchange, sock, buffer)
        finally:
            exchange.pause()

    def _read(self, exchange: Exchange, sock: Any, buffer: Any) -> Optional[int]:
        full = self._full
        while True:
            try:
                now_set = sock.gettimeout()
                if now_set is None and type(sock).recv_into is _recv_into:
                    count: int = _read_blocking(sock, buffer, exchange, self._silence)
                else:
                    if now_set != full or exchange.end - SYSTEM.monotonic() < full:
                        self._set_timeout(exchange, sock, now_set)
                    count = sock.recv_into(buffer)
                break
            except socket.timeout:
                if exchange.outlived():
                    self._silence, full = exchange.limits.read, _NEVER
                    continue
                self._timeout_occurred = True  # from here on the base refuses to read
                self.restore()
                raise _silent(exchange, sock, self._own, self._silence) from None
            except BlockingIOError:  # a socket that the app has made non-blocking: as the base does
                return None
        if not count and self._wait is not None and self._wait.interrupted:
            raise exchange.interrupted()
        if exchange.call is not None and exchange.phase == "body":
            exchange.touch()
        return count

    def _set_timeout(self, exchange: Exchange, sock: Any, now_set: Optional[float]) -> None:
        """Let the next read wait for the silence that is allowed, at most for what is left."""
        # the first time, or changed by the client since: docker's does so
        if now_set != self._set:
            self._own = self._set = now_set
        own = self._own
        if not waits(own):
            return
        if own is not None and own > exchange.stretches_above and not exchange.connecting:
            exchange.stretch(own, answer=True)
        silence = self._silence.seconds if own is None else own
        wait = exchange.wait(silence)
        if now_set is None or not -SLACK < wait - now_set < SLACK:
            set_timeout(sock, wait)
            self._set = now_set = sock.gettimeout()  # as the socket has rounded it
        self._full = _NEVER if now_set is None or wait < silence else now_set

    def restore(self) -> None:
        """Give the socket its own timeout back, and leave it alone from here on: it may be its
        pool's.
        """
        sock, self._exchange = self._sock, None
        if self._wait is not None:
            self._wait.disarm()
        if self._set == self._own or self._set is _NOT_SEEN or sock is None:
            return
        try:
            if sock.gettimeout() == self._set:
                sock.settimeout(self._own)
        except OSError:  # closed by now
            return

    def close(self) -> None:
        """Close the stream; the socket lives on in a pool, with its own timeout."""
        if self._exchange is not None:
            self.restore()
        _close(self)


def _silent(
    exchange: Exchange, sock: Any, own: Optional[float], read: Optional[Limit] = None
) -> socket.timeout:
    error = exchange.silent(own, read)
    if isinstance(error, TimedOut):  # else the client does with the connection what it always does
        cut(sock)
    return error


def _read_blocking(sock: Any, buffer: Any, exchange: Exchange, silence: Limit) -> int:
    """Read from a plain socket without a timeout, and leave it without one: with it, each read
    would cost a poll more.
    """
    while exchange.end > SYSTEM.monotonic() or exchange.outlived():
        try:
            return sock.recv_into(buffer, 0, socket.MSG_DONTWAIT)  # type: ignore[no-any-return]
        except BlockingIOError:
            pass
        # not in the handler: what ends the wait (a worker's signal) would be shown as caused by
        # that error
        wait = exchange.wait(silence.seconds)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll_for(poll, wait):
            raise socket.timeout
    raise exchange.give_up(exchange.why)


def bound_reads(response: Any, exchange: Exchange) -> None:
    """Have the reads of an `http.client.HTTPResponse` that was just made end with the exchange."""
    raw = getattr(response.fp, "raw", None)
    # Only the stdlib's own stream is touched, and stays the object it was: docker's client, for
    # one, takes the socket out of it. A new one would have to count references to the socket in
    # private attributes.
    if type(raw) is socket.SocketIO and hasattr(raw._sock, "gettimeout"):  # type: ignore[attr-defined]  # noqa: SLF001
        raw.__class__ = BoundedSocketIO
        raw._exchange = exchange  # type: ignore[attr-defined]  # noqa: SLF001
        raw._silence = exchange.limits.read  # type: ignore[attr-defined]  # noqa: SLF001
        if exchange.can_be_interrupted:
            # the watchdog of requests may end it, and says what a slow request waits for
            raw._wait = interruptible(functools.partial(cut, raw._sock), exchange).arm()  # type: ignore[attr-defined]  # noqa: SLF001


def send(write: Callable[[Any, Any], Any], conn: Any, data: Any, exchange: Exchange) -> None:
    """Write all of `data` with `write`, in pieces each of which may take no longer than what is
    left of the exchange.
    """
    sock = conn.sock
    own = now_set = sock.gettimeout()
    if not waits(own):
        write(conn, data)
        return
    if not exchange.connecting:  # through a proxy: a tunnel is part of connecting
        exchange.phase = "send"
    if own is not None and not exchange.connecting:
        exchange.allow(own)
        if own > exchange.stretches_above:
            exchange.stretch(own)
    silence = exchange.limits.read.seconds if own is None else own
    try:
        for piece in (data,) if len(data) <= _TLS_RECORD_BYTES else _pieces(data, sock, own):
            if now_set is None or now_set != silence or exchange.end - SYSTEM.monotonic() < silence:
                wait = exchange.wait(silence)
                if now_set is None or not -SLACK < wait - now_set < SLACK:
                    now_set = None if wait == math.inf else wait
                    sock.settimeout(now_set)
            write(conn, piece)
    except socket.timeout:
        raise _silent(exchange, sock, own) from None
    finally:
        if now_set != own:
            restore_timeout(sock, own)


def _pieces(data: Any, sock: Any, own: Optional[float]) -> Iterator[Any]:
    """Cut data where one call would allow more, or less, than it should.

    `sendall` of a TLS socket waits its timeout for each record. That of a plain one waits it for
    everything: as the caller wants it if the timeout is the caller's, too strict for a limit of
    silence.
    """
    # not imported by us: under gevent it must not be before it is patched
    tls = sys.modules.get("ssl")
    if tls is not None and isinstance(sock, tls.SSLSocket):
        size = _TLS_RECORD_BYTES
    elif own is None:
        size = SLICE_BYTES
    else:
        size = 0
    view = memoryview(data).cast("B") if size and len(data) > size else None
    if view is None:
        yield data
        return
    for start in range(0, len(view), size):
        yield view[start : start + size]


def poll_for(poller: Any, seconds: float) -> List[Tuple[int, int]]:
    """Wait until something is ready, for so many seconds, which may be infinite; return what is."""
    return poller.poll(None if seconds > _LONGEST_POLL else math.ceil(seconds * 1000))  # type: ignore[no-any-return]


def waits(timeout: Any) -> bool:
    """Tell whether a socket with this timeout waits: a non-blocking one does not, and a test's mock
    has no timeout at all.
    """
    return timeout is None or (isinstance(timeout, (int, float)) and timeout > 0)


def has_timeout(sock: Any) -> bool:
    """Tell whether a connection's socket is one.

    A test's need not be: httpretty's raises what it likes.
    """
    try:
        sock.gettimeout  # noqa: B018
    except Exception:
        return False
    return True


def set_timeout(sock: Any, seconds: float) -> None:
    """Set a socket's timeout, which may be infinite."""
    sock.settimeout(None if seconds == math.inf else seconds)


def cut(sock: Any) -> None:
    """Make sure that a connection in the middle of an exchange is of no use to anybody: no pool may
    give it out again.
    """
    try:
        # not SSLSocket.shutdown, which also drops the TLS layer, so that a later read would be of
        # the bare socket
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except (OSError, TypeError):  # closed already; not a socket but something like it
        return


def restore_timeout(sock: Any, own: Optional[float]) -> None:
    """Give a socket its own timeout back, if it is still open."""
    try:
        sock.settimeout(own)
    except OSError:  # closed by now
        return
