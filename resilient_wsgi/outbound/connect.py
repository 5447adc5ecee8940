"""Make a TCP connection to one of a host's addresses, all of them sharing one limit.

The usual loop waits for each address in turn, the full timeout each. Here the next one is begun
after a short while, as RFC 8305 has it, and the first that answers is taken: a black hole in front
costs that short while.
"""

from __future__ import annotations

import _socket
import errno
import math
import os
import select
import socket
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple

from ..deadline import interruptible
from . import resolver
from .exchange import Exchange
from .socket_timeouts import cut, poll_for, set_timeout
from .unpatched_socket import connects_natively, is_original

# RFC 8305, section 8: "Connection Attempt Delay"
ATTEMPT_DELAY = 0.25

Info = Tuple[Any, ...]


def create_connection(
    exchange: Exchange,
    address: Tuple[str, int],
    source_address: Optional[Tuple[str, int]] = None,
    socket_options: Optional[Sequence[Any]] = None,
    family: int = 0,
) -> socket.socket:
    """Do what `socket.create_connection` does, within the time that the exchange has for
    connecting.

    The socket's timeout is what is left of it, for the TLS handshake. Raises `TimedOut`, or what
    the system calls raise.
    """
    infos = addresses(exchange, *address, family)
    return connect_to(exchange, infos, source_address, socket_options)


def connect_to(
    exchange: Exchange,
    infos: List[Info],
    source_address: Optional[Tuple[str, int]] = None,
    socket_options: Optional[Sequence[Any]] = None,
) -> socket.socket:
    """Do the same for the addresses that were found by `getaddrinfo`."""
    infos = _interleave(infos)

    def new_socket(info: Info) -> socket.socket:
        sock = socket.socket(info[0], info[1], info[2])
        try:
            for option in socket_options or ():
                sock.setsockopt(*option)
            if source_address:
                sock.bind(source_address)
        except BaseException:
            sock.close()
            raise
        return sock

    exchange.phase = "connect"
    sock = (_race if connects_natively() else _in_turn)(exchange, infos, new_socket)
    try:
        exchange.guard_handshake(sock)
        set_timeout(sock, exchange.wait(math.inf))
    except BaseException:
        sock.close()
        raise
    return sock


def addresses(exchange: Exchange, host: str, port: int, family: int = 0) -> List[Info]:
    """Return the addresses of a host.

    Raises `TimedOut` when the time for connecting is up, else what `getaddrinfo` raises.
    """
    question = (host, port, family, socket.SOCK_STREAM)
    exchange.phase = "dns"
    if _is_address(host):  # nothing to wait for
        return socket.getaddrinfo(*question)
    exchange.begin_names()
    left = exchange.wait(math.inf)
    try:
        direct = (
            left == math.inf or host.lower() == "localhost" or not is_original(socket.getaddrinfo)
        )
        found = socket.getaddrinfo(*question) if direct else resolver.ask(question, left)
    except resolver.NotInTime:
        raise exchange.give_up(exchange.why) from None
    exchange.end_names()
    return found


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError, TypeError):
            continue
        return True
    return False


def _interleave(infos: List[Info]) -> List[Info]:
    """Return the addresses with the families taking turns (RFC 8305, section 4), each in the order
    that it was in.
    """
    families: Dict[Any, List[Info]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    longest = max(map(len, families.values()), default=0)
    return [same[i] for i in range(longest) for same in families.values() if i < len(same)]


def _race(
    exchange: Exchange, infos: List[Info], new_socket: Callable[[Info], socket.socket]
) -> socket.socket:
    """Begin with one address after the other and return the first connection that comes about."""
    waiting = list(reversed(infos))
    under_way: Dict[int, socket.socket] = {}
    poller = select.poll()
    error: Optional[OSError] = None
    winner: Optional[socket.socket] = None
    try:
        # the watchdog of requests may end it
        with interruptible(lambda: _cut_all(under_way), exchange) as ours:
            while winner is None and (waiting or under_way):
                if waiting:
                    begun = _begin(waiting.pop(), new_socket)
                    if isinstance(begun, OSError):
                        error = begun
                        continue
                    under_way[begun.fileno()] = begun
                    poller.register(begun, select.POLLOUT)
                delay = ATTEMPT_DELAY if waiting else math.inf
                winner, failed = _await(exchange, poller, under_way, delay)
                error = failed or error
                if ours.interrupted:
                    break
        if ours.interrupted:
            winner = None
            raise exchange.interrupted()
    finally:
        for sock in under_way.values():
            if sock is not winner:
                sock.close()
    return winner or _fail(error)


def _cut_all(under_way: Dict[int, socket.socket]) -> None:
    for sock in list(under_way.values()):
        cut(sock)


def _begin(info: Info, new_socket: Callable[[Info], socket.socket]) -> Any:
    """Return a socket that is connecting, or the error why it is not."""
    try:
        sock = new_socket(info)
    except OSError as error:
        return error
    try:
        sock.setblocking(False)
        code = _socket.socket.connect_ex(sock, info[4])  # a guard replaces `connect` at most
    except OSError as error:  # of an audit hook
        sock.close()
        return error
    except BaseException:
        sock.close()
        raise
    if code in (0, errno.EINPROGRESS):
        return sock
    sock.close()
    return OSError(code, os.strerror(code))


def _await(
    exchange: Exchange, poller: Any, under_way: Dict[int, socket.socket], delay: float
) -> Tuple[Optional[socket.socket], Optional[OSError]]:
    """Wait until one is connected (return it), one has failed (return why), or it is time for the
    next address.
    """
    ready = poll_for(poller, exchange.wait(delay))
    failed: Optional[OSError] = None
    for descriptor, _ in ready:
        code = under_way[descriptor].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            return under_way[descriptor], None
        failed = OSError(code, os.strerror(code))
        poller.unregister(descriptor)
        under_way.pop(descriptor).close()
    return None, failed


def _in_turn(
    exchange: Exchange, infos: List[Info], new_socket: Callable[[Info], socket.socket]
) -> socket.socket:
    """Try one after the other, each for its share of the time that is left."""
    error: Optional[OSError] = None
    for i, info in enumerate(infos):
        try:
            sock = new_socket(info)
        except OSError as failed:
            error = failed
            continue
        left = exchange.wait(math.inf)
        set_timeout(sock, left / (len(infos) - i))
        try:
            sock.connect(info[4])
        except OSError as failed:
            error = failed
            sock.close()
        else:
            return sock
    exchange.wait(math.inf)  # raises if that was for want of time
    return _fail(error)


def _fail(error: Optional[OSError]) -> NoReturn:
    if error is None:
        msg = "getaddrinfo returns an empty list"
        raise OSError(msg)
    raise error
