"""Connecting of psycopg 3: its limit, and `statement_timeout`, if that is wanted."""

from __future__ import annotations

import math
from typing import Any, Dict, Tuple

from ... import deadline
from . import To

SERVICE = "psycopg"
# of PgBouncer, which takes no options that it would have to give to each of its connections
_REFUSED = "unsupported startup parameter"
_LEAST = 2  # libpq's least connect_timeout


class Connect:
    """Wraps `Connection.connect`."""

    def __init__(self, to: To, conninfo: Any, errors: Any) -> None:
        self._to = to
        self._conninfo = conninfo
        self._errors = errors

    def connecting(self, original: Any) -> Any:
        """Return what connects within the limits."""

        def connect(cls: Any, conninfo: str = "", **kwargs: Any) -> Any:
            limits = self._to.limits
            if not limits.holds_for(SERVICE):
                return original(cls, conninfo, **kwargs)
            own, given, peer = self._given(conninfo, kwargs)
            with limits.connecting(SERVICE, own, lambda: peer) as connecting:
                more = dict(kwargs)
                if own is None and connecting.seconds is not None:
                    more["connect_timeout"] = max(math.ceil(connecting.seconds), _LEAST)
                limited = self._with_statement_timeout(given)
                if limited is None:
                    return original(cls, conninfo, **more)
                try:
                    return original(cls, conninfo, **more, **limited)
                except self._errors.OperationalError as error:
                    if _REFUSED not in str(error):
                        raise
                return original(cls, conninfo, **more)

        return connect

    def _given(self, conninfo: str, kwargs: Dict[str, Any]) -> Tuple[Any, str, str]:
        """Return the connect timeout that was given or None, the options, and host and port."""
        with self._to.limits.guard:
            names = ("connect_timeout", "options", "host", "hostaddr", "port")
            named = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
            found = self._conninfo.conninfo_to_dict(conninfo, **named)
            seconds = self._conninfo.timeout_from_conninfo(found)
            own = None if seconds == self._conninfo._DEFAULT_CONNECT_TIMEOUT else seconds
            host = found.get("host") or found.get("hostaddr") or ""
            return own, str(found.get("options") or ""), f"{host}:{found.get('port') or 5432}"
        return math.inf, "", ""  # it is wrong: psycopg will say so

    def _with_statement_timeout(self, options: str) -> Any:
        seconds = self._to.limits.statement_timeout
        if seconds is None or "statement_timeout" in options or not deadline.in_request():
            return None
        if self._to.limits.report:
            return None
        return {"options": f"{options} -c statement_timeout={int(seconds * 1000)}".strip()}
