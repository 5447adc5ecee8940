"""PyMySQL: connecting, queries and results end at the deadline; a commit has 5 s more."""

from __future__ import annotations

from typing import Any

from ..exceptions import translating
from . import To, need

SERVICE = "pymysql"


def patch(module: Any, to: To) -> None:
    """Wrap connecting, reading, writing and committing."""
    from pymysql import err

    kind = module.Connection
    need(kind, "connect", "_get_server_information", "_read_bytes", "_write_bytes", "commit")
    raised = translating(err.Error)
    to.wrap(kind, "connect", lambda original: _connect(raised(original), to))
    to.wrap(kind, "_get_server_information", lambda original: _greeted(original, to))
    to.wrap(kind, "_read_bytes", raised)
    to.wrap(kind, "_write_bytes", raised)
    to.wrap(kind, "commit", lambda original: _commit(original, to))


def _connect(original: Any, to: To) -> Any:
    def connect(conn: Any, sock: Any = None) -> Any:
        own = conn.connect_timeout
        with to.limits.connecting(SERVICE, own, lambda: _peer(conn)) as connecting:
            try:
                conn.connect_timeout = connecting.seconds
                return original(conn, sock)
            finally:
                conn.connect_timeout = own

    return connect


def _peer(conn: Any) -> str:
    return str(conn.unix_socket or f"{conn.host}:{conn.port}")


def _greeted(original: Any, to: To) -> Any:
    """Limit the socket as soon as it is connected: what is read first is the greeting."""

    def get_server_information(conn: Any) -> Any:
        to.sockets.adopt(conn._sock, SERVICE)
        return original(conn)

    return get_server_information


def _commit(original: Any, to: To) -> Any:
    def commit(conn: Any) -> Any:
        sock = conn._sock
        to.sockets.allow_commit(sock)
        try:
            return original(conn)
        finally:
            to.sockets.end_commit(sock)

    return commit
