"""Connecting of psycopg 3: its limit, and `statement_timeout`, if that is wanted."""

from __future__ import annotations

import math
from typing import Any, Dict, Set, Tuple

from ... import deadline
from . import To

SERVICE = "psycopg"
# of PgBouncer, which takes no options that it would have to give to each of its connections
_REFUSED = "unsupported startup parameter"
_MOST_REFUSING = 100


class Connect:
    """Wraps `Connection.connect`."""

    def __init__(self, to: To, conninfo: Any, errors: Any) -> None:
        self._to = to
        self._conninfo = conninfo
        self._errors = errors
        self._refusing: Set[str] = set()  # servers that take no options: poolers

    def connecting(self, original: Any) -> Any:
        """Return what connects within the limits."""

        def connect(cls: Any, conninfo: str = "", **kwargs: Any) -> Any:
            limits = self._to.limits
            if not limits.holds_for(SERVICE):
                return original(cls, conninfo, **kwargs)
            own, given, peer = self._given(conninfo, kwargs)
            with limits.connecting(SERVICE, own, lambda: peer):
                limited = self._with_statement_timeout(given)
                if limited is None or peer in self._refusing:
                    return original(cls, conninfo, **kwargs)
                try:
                    return original(cls, conninfo, **{**kwargs, **limited})
                except self._errors.OperationalError as error:
                    if _REFUSED not in str(error):
                        raise
                    if len(self._refusing) < _MOST_REFUSING:
                        self._refusing.add(peer)
                return original(cls, conninfo, **kwargs)

        return connect

    def timeout(self, original: Any) -> Any:
        """Return what tells psycopg how long it may connect: its own default is that of Linux.

        As an argument it would be part of the connection's `dsn`.
        """

        def timeout_from_conninfo(params: Any) -> Any:
            seconds = original(params)
            if seconds != self._conninfo._DEFAULT_CONNECT_TIMEOUT:
                return seconds
            limited = self._to.limits.connecting(SERVICE, None, str).seconds
            return seconds if limited is None else limited

        return timeout_from_conninfo

    def _given(self, conninfo: str, kwargs: Dict[str, Any]) -> Tuple[Any, str, str]:
        """Return the connect timeout that was given or None, the options, and host and port."""
        with self._to.limits.guard:
            names = ("connect_timeout", "options", "host", "hostaddr", "port")
            named = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
            try:
                found = self._conninfo.conninfo_to_dict(conninfo, **named)
                seconds = self._conninfo.timeout_from_conninfo(found)
            except self._errors.Error:  # psycopg will say so
                return math.inf, "", ""
            own = None if seconds == self._conninfo._DEFAULT_CONNECT_TIMEOUT else seconds
            host = found.get("host") or found.get("hostaddr") or ""
            return own, str(found.get("options") or ""), f"{host}:{found.get('port') or 5432}"
        return math.inf, "", ""

    def _with_statement_timeout(self, options: str) -> Any:
        seconds = self._to.limits.statement_timeout
        if seconds is None or "statement_timeout" in options or not deadline.in_request():
            return None
        if self._to.limits.report:
            return None
        return {"options": f"{options} -c statement_timeout={int(seconds * 1000)}".strip()}
