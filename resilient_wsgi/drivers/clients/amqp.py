"""amqp, which kombu and Celery use for RabbitMQ: publishing in a request ends at the deadline.

RabbitMQ stops reading from a connection that publishes while it is short of memory or disk: then
there is nothing else that would end the wait. Consumers outside of requests wait as before.
"""

from __future__ import annotations

from typing import Any

from ..exceptions import TimedOut
from . import To, need

SERVICE = "amqp"


def patch(module: Any, to: To) -> None:
    """Wrap connecting, reading and writing."""
    base = module._AbstractTransport
    need(base, "_connect", "read_frame", "write")
    to.wrap(base, "_connect", lambda original: _connect(original, to))
    to.wrap(base, "read_frame", _or_disconnected)
    to.wrap(base, "write", _or_disconnected)


def _connect(original: Any, to: To) -> Any:
    def connect(transport: Any, host: Any, port: Any, timeout: Any) -> Any:
        with to.limits.connecting(SERVICE, timeout, lambda: f"{host}:{port}") as connecting:
            result = original(transport, host, port, connecting.seconds)
        to.sockets.adopt(transport.sock, SERVICE)
        return result

    return connect


def _or_disconnected(original: Any) -> Any:
    """Have the connection count as closed when a limit has ended its wait: after a timeout of its
    own, amqp would go on with it.
    """

    def transfer(transport: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(transport, *args, **kwargs)
        except TimedOut:
            transport.connected = False
            raise

    return transfer
