"""Sockets of drivers that know the deadline: each read and write ends by it.

A driver in Python reads and writes through the methods of its socket, in many places. So it is the
socket that is limited, once for all of them: its class is replaced by a subclass without state.
Without a deadline its methods do nothing but look for one.
"""

from __future__ import annotations

import _socket
import socket
from typing import Any, Callable, Dict, Optional, Tuple
from weakref import WeakKeyDictionary

from ..core.patching import Patches
from ..deadline import CURRENT, Deadline
from . import polled
from .limits import AFTERWARDS, COMMIT_GRACE, SLACK, End, Limits, number

# How a method waits; None is with a timeout of the socket. With TLS, recv() and sendall() come down
# to these, and the driver of RabbitMQ calls them itself. What is ready there may be the beginning
# of a record, so that reads need the timeout: it harms nobody, because a thread that reads at the
# same time would have the same answers to fight for, and one that writes does not wait for long.
_TLS: Dict[str, Any] = {
    "read": None,
    "write": polled.write_tls,
    "send": polled.write_tls,
    "do_handshake": None,
    "unwrap": None,
}
_PLAIN: Dict[str, Any] = {
    "recv": polled.read,
    "recv_into": polled.read,
    "send": polled.write,
    "sendall": polled.write_all,
}
_WRITES = ("send", "sendall", "write")

Call = Callable[..., Any]


class Sockets:
    """Limits the sockets that drivers have connected."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._kinds: Dict[Tuple[type, str], type] = {}
        # until when a socket may wait in spite of the deadline
        self._later: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def __repr__(self) -> str:
        names = " ".join(sorted({service for _, service in self._kinds}))
        return f"<Sockets of {names or 'no driver'}>"

    def adopt(self, sock: Any, service: str) -> None:
        """Have the waits of a socket end by the deadline from now on.

        Left alone is what is not a socket of Python's: a test's, a proxy's.
        """
        with self.limits.guard:
            kind, of_python = type(sock), socket.socket  # gevent's, if it has replaced it
            if not (isinstance(of_python, type) and issubclass(kind, of_python)):
                return
            if service_of(sock):
                return
            known = self._kinds.get((kind, service))
            if known is None:
                known = self._kinds[kind, service] = self._limited(kind, service)
            try:
                sock.__class__ = known
            except TypeError:  # a subclass that has slots of its own
                return

    def allow_commit(self, sock: Any) -> None:
        """Let a commit take longer than the deadline allows: whether it was done could not be
        told.
        """
        held = self.limits.deadline()
        if held is not None and service_of(sock):
            self._later[sock] = max(held.at, self.limits.now()) + COMMIT_GRACE

    def end_commit(self, sock: Any) -> None:
        """Have the deadline hold again."""
        if sock is not None:
            self._later.pop(sock, None)

    def patch_tls(self, ssl: Any, patches: Patches) -> None:
        """Have TLS around a limited socket be limited, too, from its handshake on."""
        patches.wrap(ssl.SSLContext, "wrap_socket", self._wrap_socket)

    def _wrap_socket(self, original: Call) -> Call:
        def wrap_socket(context: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
            service = service_of(sock)
            if not service:
                return original(context, sock, *args, **kwargs)
            own, peer = sock.gettimeout(), peer_of(sock)
            with self.limits.connecting(service, own, lambda: peer) as connecting:
                if connecting.seconds != own:
                    sock.settimeout(connecting.seconds)
                secured = original(context, sock, *args, **kwargs)
            _restore(secured, own)
            self.adopt(secured, service)
            return secured

        return wrap_socket

    def _limited(self, kind: type, service: str) -> type:
        names = _TLS if hasattr(kind, "do_handshake") else _PLAIN
        methods = {name: self._method(kind, name, how, service) for name, how in names.items()}
        about = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        return type(kind.__name__, (kind,), {**about, **methods, _SERVICE: service})

    def _method(self, kind: Any, name: str, how: Any, service: str) -> Call:
        call, wait, writes = getattr(kind, name), self._wait, name in _WRITES
        if not issubclass(kind, _socket.socket):  # gevent's, which waits in its own way
            how = None
        inner = kind.send if name == "sendall" else call

        def method(sock: Any, *args: Any, **kwargs: Any) -> Any:
            if CURRENT.get() is None:
                return call(sock, *args, **kwargs)
            return wait(call, inner, how, service, writes, sock, args, kwargs)

        method.__name__ = name
        return method

    def _wait(
        self, call: Call, inner: Call, how: Any, service: str, writes: bool, sock: Any, args: Any,
        kwargs: Any,
    ) -> Any:  # fmt: skip
        held = self.limits.deadline(service)
        own = None if held is None else sock.gettimeout()
        if held is None or own == 0:
            return call(sock, *args, **kwargs)
        began = self.limits.now()
        until = held.at
        if began >= until or self._later:
            until = self._until(sock, writes, held, began)
        if own is not None and own <= until - began:
            return call(sock, *args, **kwargs)
        if self.limits.report:
            return self._measured(call, service, held, sock, args, kwargs)
        try:
            if until <= began:  # an answer that goes on and on
                raise polled.Over
            if how is None:
                return _with_timeout(call, until - began, own, sock, args, kwargs)
            return how(inner, polled.Wait(self.limits.now, until, own), sock, *args, **kwargs)
        except OSError:
            # over; or the watchdog of requests was quicker, and has reset the connection
            if self.limits.now() < until - SLACK:
                raise
        ours = self.limits.over(service, peer_of(sock), End.of(held, until), began)
        cut(sock)
        raise ours

    def _until(self, sock: Any, writes: bool, held: Deadline, now: float) -> float:
        """Return until when a socket may wait: the deadline; what begins after it gets a moment."""
        later = self._later.get(sock, 0.0)
        if now >= held.at and (writes or not later):
            self._later[sock] = later = max(later, now + AFTERWARDS)
        return max(held.at, later)

    def _measured(
        self, call: Call, service: str, held: Deadline, sock: Any, args: Any, kwargs: Any
    ) -> Any:
        began = self.limits.now()
        try:
            return call(sock, *args, **kwargs)
        finally:
            if began < held.at < self.limits.now():
                self.limits.announce(service, peer_of(sock), End.of(held, held.at), began)


_SERVICE = "_resilient_wsgi_service"


def service_of(sock: Any) -> str:
    """Return the driver whose socket this is, "" if it is not limited."""
    return str(getattr(type(sock), _SERVICE, ""))


def own_timeout(timeout: Any) -> Optional[float]:
    """Return the seconds of a timeout as `socket.create_connection` takes it."""
    return timeout if timeout is None or number(timeout) is not None else _default_timeout()


def _default_timeout() -> Optional[float]:
    return socket.getdefaulttimeout()


def peer_of(sock: Any) -> str:
    """Return host:port or the path of what a socket is connected to, "" if that is not known."""
    try:
        peer = sock.getpeername()
    except OSError:
        return ""
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)


def cut(sock: Any) -> None:
    """Make sure that a connection in the middle of an answer is of no use to anybody: no pool may
    give it out again.
    """
    try:
        # not SSLSocket.shutdown, which also drops the TLS layer: a later read would be of the bare
        # socket
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except (OSError, TypeError):  # closed already
        return


def _with_timeout(
    call: Call, left: float, own: Optional[float], sock: Any, args: Any, kwargs: Any
) -> Any:
    try:
        sock.settimeout(left)
        return call(sock, *args, **kwargs)
    finally:
        _restore(sock, own)


def _restore(sock: Any, own: Optional[float]) -> None:
    try:
        if sock.gettimeout() != own:
            sock.settimeout(own)
    except OSError:  # closed by now
        return
