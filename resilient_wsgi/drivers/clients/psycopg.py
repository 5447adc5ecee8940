"""psycopg 3: connecting, queries, COPY and notifications end at the deadline.

psycopg waits in C, by driving a generator that looks up ten times a second: so the deadline is
looked at in a generator around that one, whatever the version. A query that is running is cancelled
on the server, as psycopg does for Ctrl-C; if that does not help at once, the connection is closed.
Async connections are not touched.
"""

from __future__ import annotations

import math
from typing import Any, Generator

from ...deadline import Deadline
from ..exceptions import TimedOut, translated
from ..limits import AFTERWARDS, COMMIT_GRACE, End
from . import To, UnknownVersion, need
from .psycopg_connect import Connect

SERVICE = "psycopg"
_INTERVAL = 0.1  # psycopg's own
_CANCEL = 0.15  # for the request to cancel: a connection of its own
_CANCELLED = 0.1  # for the query to end then
_COMMITS = ("_commit_gen", "_tpc_finish_gen", "_exit_gen")
_ACTIVE = 1  # libpq's PQTRANS_ACTIVE: a statement is under way

Waiting = Generator[Any, Any, Any]


class _Over(Exception):
    """The generator's way to say that the deadline has passed."""


def patch(module: Any, to: To) -> None:
    """Wrap connecting and waiting."""
    from psycopg import capabilities, connection, conninfo, errors, waiting

    need(module.Connection, "connect", "wait", "cancel_safe")
    need(conninfo, "conninfo_to_dict", "timeout_from_conninfo", "_DEFAULT_CONNECT_TIMEOUT")
    need(waiting, "wait_conn")
    need(connection, "timeout_from_conninfo")
    if "interval" not in module.Connection.wait.__code__.co_varnames:
        msg = "waits cannot be looked into"  # before 3.2
        raise UnknownVersion(msg)
    waits = _Waits(to, errors, capabilities.has_cancel_safe)
    to.wrap(waiting, "wait_conn", waits.connecting)
    to.wrap(connection.Connection, "wait", waits.waiting)
    connect = Connect(to, conninfo, errors)
    to.wrap(connection, "timeout_from_conninfo", connect.timeout)
    to.wrap(connection.Connection, "connect", connect.connecting)
    to.wrap(module, "connect", lambda _: _connect(module))


def _connect(module: Any) -> Any:
    """Return what stands for `psycopg.connect`, which is the method as it was before."""

    def connect(*args: Any, **kwargs: Any) -> Any:
        return module.Connection.connect(*args, **kwargs)

    return connect


class _Waits:
    """What ends the waits of connections."""

    def __init__(self, to: To, errors: Any, has_cancel: Any) -> None:
        self._limits = to.limits
        self._errors = errors
        self._has_cancel = has_cancel

    def connecting(self, original: Any) -> Any:
        """Wrap `waiting.wait_conn`."""

        def wait_conn(generator: Any, *args: Any, **kwargs: Any) -> Any:
            held = self._limits.deadline(SERVICE)
            if held is None:
                return original(generator, *args, **kwargs)
            if self._limits.report:
                return self._measured(original, "", held, (generator, *args), kwargs)
            began = self._limits.now()
            until = max(held.at, began + AFTERWARDS)
            try:
                return original(self._until(generator, until), *args, **kwargs)
            except _Over:
                generator.close()
            limit = self._limits.over(SERVICE, "", End.of(held, until), began, "connect")
            raise self._error(self._errors.ConnectionTimeout, limit)

        return wait_conn

    def waiting(self, original: Any) -> Any:
        """Wrap `Connection.wait`."""

        def wait(
            conn: Any, generator: Any, interval: Any = _INTERVAL, *args: Any, **kwargs: Any
        ) -> Any:
            held = self._limits.deadline(SERVICE)
            if held is None:
                return original(conn, generator, interval, *args, **kwargs)
            began = self._limits.now()
            until = max(held.at + _commit_grace(generator), began + AFTERWARDS)
            if self._limits.report:
                given = (conn, generator, interval, *args)
                return self._measured(original, _peer(conn), held, given, kwargs)
            try:
                tick = min(interval or _INTERVAL, _ticks(until - began))
                return original(conn, self._until(generator, until), tick, *args, **kwargs)
            except _Over:
                pass
            limit = self._limits.over(SERVICE, _peer(conn), End.of(held, until), began)
            raise self._ended(original, conn, generator, limit)

        return wait

    def _until(self, generator: Waiting, until: float) -> Waiting:
        """Drive a generator until a point in time, then raise `_Over`; it could be driven on."""
        now = self._limits.now
        try:
            wanted = next(generator)
            while True:
                if now() >= until:
                    raise _Over
                ready = yield wanted
                wanted = generator.send(ready)
        except StopIteration as done:
            return done.value

    def _ended(self, original: Any, conn: Any, generator: Any, limit: TimedOut) -> BaseException:
        """Leave the connection of a wait that is over usable or closed; return what to raise."""
        pipelined = getattr(conn, "_pipeline", None) is not None
        if conn.pgconn.transaction_status != _ACTIVE and not pipelined:
            return self._error(self._errors.OperationalError, limit)  # it waited for notifications
        if not pipelined and self._is_cancelled(original, conn, generator):
            return self._error(self._errors.QueryCanceled, limit)
        conn.pgconn.finish()
        return self._error(self._errors.OperationalError, limit)

    def _is_cancelled(self, original: Any, conn: Any, generator: Any) -> bool:
        """Cancel what is running on the server; return whether it has ended by that.

        If it has ended by itself meanwhile, the request to cancel could still hit the next
        statement: then the connection is of no more use, either.
        """
        if not self._has_cancel():  # PQcancel() of libpq before 17 blocks without a limit
            return False
        try:
            conn.cancel_safe(timeout=_CANCEL)
            original(conn, self._until(generator, self._limits.now() + _CANCELLED), _CANCELLED / 4)
        except self._errors.QueryCanceled:
            return True
        except Exception:
            return False
        # the results of a statement are fetched, and its error raised, by the caller
        return False

    def _measured(self, original: Any, peer: str, held: Deadline, args: Any, kwargs: Any) -> Any:
        began = self._limits.now()
        try:
            return original(*args, **kwargs)
        finally:
            if began < held.at < self._limits.now():
                self._limits.announce(SERVICE, peer, End.of(held, held.at), began)

    @staticmethod
    def _error(kind: Any, limit: TimedOut) -> BaseException:
        return translated(kind(str(limit)), limit)


def _commit_grace(generator: Any) -> float:
    return COMMIT_GRACE if getattr(generator, "__name__", "") in _COMMITS else 0.0


def _ticks(left: float) -> float:
    """Return an interval that divides what is left, so that the last look is at its end."""
    return max(left, 0.001) / max(math.ceil(left / _INTERVAL), 1)


def _peer(conn: Any) -> str:
    host, port = conn.pgconn.host, conn.pgconn.port
    return f"{host.decode()}:{port.decode()}" if host else ""
