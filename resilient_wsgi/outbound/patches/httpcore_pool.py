"""The pools of httpcore: a connection that was assigned to a call whose time is up just then.

Nobody connects it or takes it away again (1.0.9; httpcore2 drops it). Each one makes the pool
smaller, until it has none to give. Limits that many calls share, as those of a request do, make
what was rare frequent.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Callable

from ...core.patching import Patches
from ..policy import guard

Method = Callable[..., Any]

_POOLS = (("_sync", "ConnectionPool"), ("_async", "AsyncConnectionPool"))
_MOST_LAYERS = 4  # a tunnel through a proxy has a connection within


def patch(module: Any, patches: Patches) -> None:
    """Wrap the assignment of connections, which the pool's lock is held for."""
    for package, name in _POOLS:
        pool = getattr(import_module(f"{module.__name__}.{package}.connection_pool"), name)
        patches.wrap(pool, "_assign_requests_to_connections", _assigning("_connections"))
        patches.wrap(pool, "_attempt_to_acquire_connection", _assigning("_pool"))  # before 1.0


def _assigning(connections: str) -> Callable[[Method], Method]:
    def wrap(original: Method) -> Method:
        def assign(pool: Any, *args: Any) -> Any:
            if len(getattr(pool, connections)) >= pool._max_connections:
                with guard:
                    _drop_unused(pool, connections)
            return original(pool, *args)

        return assign

    return wrap


def _drop_unused(pool: Any, connections: str) -> None:
    """Drop connections that were not begun and that no call has: there is no socket to close."""
    used = [request.connection for request in pool._requests]
    kept = [
        connection
        for connection in getattr(pool, connections)
        if connection in used or not _is_unconnected(connection)
    ]
    setattr(pool, connections, kept)


def _is_unconnected(connection: Any) -> bool:
    for _ in range(_MOST_LAYERS):
        if not hasattr(connection, "_connection"):
            return False
        connection = connection._connection
        if connection is None:
            return True
    return False
