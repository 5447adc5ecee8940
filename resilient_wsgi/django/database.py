"""Statements that would outlast the deadline are ended by the database: `REQUEST.DATABASE_TIMEOUT`.

PostgreSQL, MySQL and MariaDB get before each statement what is left, which is a round trip
each; SQLite asks us while it works. The app gets Django's own `OperationalError`. Behind a pooler
that gives a connection to several clients (pgbouncer in transaction mode) use it not: what is set
for one is in force for the next.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from django.db import connections
from django.db.backends.signals import connection_created

from .. import deadline
from ..core.app_entries import calls_the_app
from ..core.guard import Guard

Execute = Callable[..., Any]

_guard = Guard("request")
# how many instructions of SQLite's machine between two readings of the clock: some 0.1 ms
SQLITE_STEPS = 10_000
LEAST_MS = 1
# the database ends a statement so much before the deadline, at most a quarter of what is left: its
# answer keeps the connection, and at the deadline the wait for it is ended
EARLIER = 0.1
_UID = "resilient_wsgi.database_timeout"
_LIMITED = "_resilient_wsgi_limited"


def install() -> None:
    """Limit the statements of every connection, those that are open and those that will be.

    Twice is once.
    """
    connection_created.connect(_created, dispatch_uid=_UID)
    for connection in connections.all(initialized_only=True):
        _add(connection)


def uninstall() -> None:
    """Leave new connections alone, and limit nothing more in the open ones of this thread."""
    connection_created.disconnect(dispatch_uid=_UID)
    for connection in connections.all(initialized_only=True):
        connection.execute_wrappers[:] = [
            wrapper for wrapper in connection.execute_wrappers if wrapper is not limited
        ]


def _created(connection: Any, **_: Any) -> None:
    setattr(connection, _LIMITED, False)  # a new session has the server's own limit
    _add(connection)


def _add(connection: Any) -> None:
    if connection.vendor in _LIMITS and limited not in connection.execute_wrappers:
        connection.execute_wrappers.append(limited)


@calls_the_app
def limited(execute: Execute, sql: Any, params: Any, many: bool, context: Dict[str, Any]) -> Any:
    """Execute a statement with what is left of the deadline as its limit.

    For `execute_wrappers`.
    """
    connection = context["connection"]
    left = deadline.remaining()
    undo: Optional[Callable[[], object]] = None
    if left is not None or getattr(connection, _LIMITED, False):
        with _guard:
            undo = _LIMITS[connection.vendor](connection, left)
    try:
        return execute(sql, params, many, context)
    finally:
        if undo is not None:
            with _guard:
                undo()


def _postgresql(connection: Any, left: Optional[float]) -> None:
    _set(connection, left, "SET statement_timeout = %d", "RESET statement_timeout")


def _mysql(connection: Any, left: Optional[float]) -> None:
    if connection.mysql_is_mariadb:  # in seconds, and for all statements
        _set(
            connection,
            left,
            "SET SESSION max_statement_time = %d / 1000",
            "SET SESSION max_statement_time = DEFAULT",
        )
    else:  # for SELECT alone
        _set(
            connection,
            left,
            "SET SESSION max_execution_time = %d",
            "SET SESSION max_execution_time = DEFAULT",
        )


def _set(connection: Any, left: Optional[float], limit: str, none: str) -> None:
    # PostgreSQL refuses every statement in a transaction that has failed, and says so to the app's
    # own
    if connection.needs_rollback or getattr(connection, "connection", None) is None:
        return
    # the driver's own cursor: Django's would call us again
    cursor = connection.connection.cursor()
    try:
        cursor.execute(none if left is None else limit % _milliseconds(left))
        # what is set in a transaction goes when it is rolled back, and what was set before comes
        # back
        setattr(connection, _LIMITED, left is not None or connection.in_atomic_block)
    finally:
        cursor.close()


def _milliseconds(left: float) -> int:
    return max(LEAST_MS, int((left - min(EARLIER, left / 4)) * 1000))


def _sqlite(connection: Any, left: Optional[float]) -> Optional[Callable[[], object]]:
    held = deadline.current()
    if left is None or held is None or connection.connection is None:
        return None
    raw = connection.connection

    def past() -> int:
        return held.remaining() <= 0

    raw.set_progress_handler(past, SQLITE_STEPS)
    return lambda: raw.set_progress_handler(None, 0)


_LIMITS: Dict[str, Callable[[Any, Optional[float]], Optional[Callable[[], object]]]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "sqlite": _sqlite,
}
