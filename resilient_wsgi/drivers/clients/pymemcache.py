"""pymemcache, of Django's cache, too: connecting and commands end at the deadline.

It raises what its socket raises, and closes the connection.
"""

from __future__ import annotations

from typing import Any

from . import To, need

SERVICE = "pymemcache"


def patch(module: Any, to: To) -> None:
    """Wrap connecting."""
    need(module.Client, "_connect")
    to.wrap(module.Client, "_connect", lambda original: _connect(original, to))


def _connect(original: Any, to: To) -> Any:
    def connect(client: Any) -> Any:
        own = client.connect_timeout
        with to.limits.connecting(SERVICE, own, lambda: _peer(client.server)) as connecting:
            try:
                client.connect_timeout = connecting.seconds
                original(client)
            finally:
                client.connect_timeout = own
        to.sockets.adopt(client.sock, SERVICE)

    return connect


def _peer(server: Any) -> str:
    return f"{server[0]}:{server[1]}" if isinstance(server, tuple) else str(server)
