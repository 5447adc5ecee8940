"""pymongo: operations end at the deadline, by its own `pymongo.timeout()`.

That has the server end the operation, too. It is used where the app has set no limit of that kind:
it would replace `timeoutMS` and `socketTimeoutMS`. A commit is not limited.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, MutableMapping

from ..exceptions import translated
from ..limits import AFTERWARDS, End
from . import To, need

SERVICE = "pymongo"
_EARLY = 0.05  # it gives up when less than a round trip is left
_COMMITS = ("commitTransaction", "abortTransaction")


def patch(module: Any, to: To) -> None:
    """Wrap operations, and what the limit changes in their commands."""
    from pymongo import _csot, errors, pool_shared
    from pymongo.synchronous import client_session, mongo_client, pool

    need(_csot, "_TimeoutContext", "get_timeout", "apply_write_concern")
    need(mongo_client.MongoClient, "_retry_internal", "_run_operation")
    need(client_session, "_within_time_limit")
    connections = _class_with((pool_shared, pool), "apply_timeout")  # moved there in 4.20
    need(connections, "apply_timeout")
    operations = _Operations(to, _csot, errors.PyMongoError)
    for name in ("_run_operation", "_retry_internal"):
        to.wrap(mongo_client.MongoClient, name, operations.limited)
    to.wrap(connections, "apply_timeout", operations.apply_timeout)
    to.wrap(_csot, "apply_write_concern", operations.apply_write_concern)
    to.wrap(client_session, "_within_time_limit", lambda original: _within_limit(original, to))
    del module


def _class_with(modules: Any, name: str) -> Any:
    """Return the class that defines a method; the first module if none does."""
    classes = [kind for each in modules for kind in vars(each).values() if isinstance(kind, type)]
    return next((kind for kind in classes if name in vars(kind)), modules[0])


class _Operations:
    """Limits operations, without lengthening a number that the app has set."""

    def __init__(self, to: To, csot: Any, error: Any) -> None:
        self._limits = to.limits
        self._csot = csot
        self._error = error
        self._ours: ContextVar[bool] = ContextVar("resilient_wsgi.pymongo", default=False)

    def limited(self, original: Any) -> Any:
        """Wrap an operation of the client."""

        def operation(client: Any, *args: Any, **kwargs: Any) -> Any:
            held = self._limits.deadline(SERVICE)
            if held is None or self._limits.report or self._has_own(client, kwargs):
                return original(client, *args, **kwargs)
            began = self._limits.now()
            until = max(held.at, began + AFTERWARDS)
            token = self._ours.set(True)
            try:
                with self._csot._TimeoutContext(until - began):
                    return original(client, *args, **kwargs)
            except self._error as error:
                if not error.timeout or self._limits.now() < until - _EARLY:
                    raise
                limit = self._limits.over(SERVICE, _peer(client), End.of(held, until), began)
                ours = translated(error, limit)
            finally:
                self._ours.reset(token)
            raise ours

        return operation

    def _has_own(self, client: Any, kwargs: Any) -> bool:
        return (
            self._csot.get_timeout() is not None
            or client._timeout is not None
            or client.options.pool_options.socket_timeout is not None
            or kwargs.get("operation") in _COMMITS
        )

    def apply_timeout(self, original: Any) -> Any:
        """Keep a `max_time_ms` of the app's that is less."""

        def apply_timeout(connection: Any, *args: Any, **kwargs: Any) -> Any:
            cmd = kwargs.get("cmd", args[-1] if args else None)  # after the client, before 4.20
            own = None
            if isinstance(cmd, MutableMapping) and self._ours.get():
                own = cmd.get("maxTimeMS")
            result = original(connection, *args, **kwargs)
            if cmd is not None and own and own < cmd["maxTimeMS"]:
                cmd["maxTimeMS"] = own
            return result

        return apply_timeout

    def apply_write_concern(self, original: Any) -> Any:
        """Keep a `wtimeout` of the app's."""

        def apply_write_concern(cmd: MutableMapping[str, Any], write_concern: Any) -> None:
            original(cmd, write_concern)
            if self._ours.get() and write_concern and "wtimeout" in write_concern.document:
                concern = dict(cmd.get("writeConcern") or {})
                cmd["writeConcern"] = {**concern, "wtimeout": write_concern.document["wtimeout"]}

        return apply_write_concern


def _within_limit(original: Any, to: To) -> Any:
    """Have `with_transaction` not begin again after the deadline."""

    def within_time_limit(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) and not to.limits.is_over(SERVICE)

    return within_time_limit


def _peer(client: Any) -> str:
    seeds = sorted(client._topology_settings.seeds)[:1]
    return f"{seeds[0][0]}:{seeds[0][1]}" if seeds else ""
