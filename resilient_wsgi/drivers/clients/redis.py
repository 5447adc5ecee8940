"""redis-py: commands and connecting end at the deadline, and nothing is tried again after it.

BLPOP, XREAD BLOCK and SUBSCRIBE wait as long as they are asked to, at most until the deadline.
"""

from __future__ import annotations

import sys
from typing import Any

from ..exceptions import translating
from . import To, need

SERVICE = "redis"


def patch(module: Any, to: To) -> None:
    """Wrap connecting, sending, receiving and retrying."""
    from redis import exceptions, retry

    base = module.AbstractConnection
    kinds = [module.Connection, module.UnixDomainSocketConnection]
    for kind in kinds:
        need(kind, "_connect")
    need(base, "connect", "send_packed_command", "read_response", "can_read")
    need(retry.Retry, "call_with_retry")
    need(retry, "sleep")
    for kind in kinds:
        to.wrap(kind, "_connect", lambda original: _connect(original, to))
    for name in ("connect", "send_packed_command", "read_response"):
        to.wrap(base, name, translating(exceptions.RedisError))
    to.wrap(base, "can_read", lambda original: _can_read(original, to))
    to.wrap(retry.Retry, "call_with_retry", lambda original: _call_with_retry(original, to))
    to.wrap(retry, "sleep", lambda original: _sleep(original, to))


def _connect(original: Any, to: To) -> Any:
    def connect(conn: Any) -> Any:
        own = conn.socket_connect_timeout
        with to.limits.connecting(SERVICE, own, lambda: _peer(conn)) as connecting:
            try:
                conn.socket_connect_timeout = connecting.seconds
                sock = original(conn)
            finally:
                conn.socket_connect_timeout = own
        to.sockets.adopt(sock, SERVICE)
        return sock

    return connect


def _peer(conn: Any) -> str:
    path = getattr(conn, "path", "")
    return str(path) if path else f"{conn.host}:{conn.port}"


def _can_read(original: Any, to: To) -> Any:
    """Look for a message until the deadline at most: then there is none, which is no error."""

    def can_read(conn: Any, timeout: Any = 0) -> Any:
        return original(conn, to.limits.at_most(SERVICE, timeout) if timeout else timeout)

    return can_read


def _call_with_retry(original: Any, to: To) -> Any:
    """Raise the error of a failed attempt where the deadline has passed."""

    def call_with_retry(retry: Any, do: Any, fail: Any, *args: Any, **kwargs: Any) -> Any:
        if to.limits.deadline(SERVICE) is None:
            return original(retry, do, fail, *args, **kwargs)

        def failed(error: Exception, *more: Any) -> None:
            fail(error, *more)
            if to.limits.is_over(SERVICE):
                raise error

        return original(retry, do, failed, *args, **kwargs)

    return call_with_retry


def _sleep(original: Any, to: To) -> Any:
    """Raise the error that is being handled if the pause before the next attempt lasts until the
    deadline.
    """

    def sleep(seconds: float) -> None:
        error = sys.exc_info()[1]
        if error is not None and to.limits.is_over(SERVICE, seconds):
            raise error
        original(seconds)

    return sleep
