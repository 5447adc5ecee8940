"""The event of drivers: of databases, caches, brokers and mail servers."""

from __future__ import annotations

from typing import Literal

from .base import Event, LimitedBy, Words, limit_source

Driver = Literal[
    "redis",
    "psycopg",
    "pymysql",
    "smtplib",
    "ftplib",
    "amqp",
    "kombu",
    "pymemcache",
    "pymongo",
    "grpc",
]
DriverPhase = Literal["connect", "wait"]


class DriverTimedOut(Event):
    """A driver's wait was ended by a limit of this library (in a dry run: would have been).

    `service` is the name of the driver (redis, psycopg), `peer` host:port or a path, `elapsed` the
    seconds of this one wait. `limited_by` tells the kind of limit, `setting` the name of it or of
    the request. `caller` is file:line of the app. `count` waits of this line were ended since it
    was last logged.
    """

    component = "drivers"
    code = "RW121"
    template = (
        "%(what)s %(target)s after %(elapsed).1f s (phase %(phase)s, limit %(limit)g s: "
        "%(source)s; caller %(caller)s in %(function)s%(times)s).%(fix)s"
    )
    label_fields = ("service", "phase", "limited_by", "dry_run")
    service: Driver
    peer: str
    phase: DriverPhase
    elapsed: float
    limit: float
    limited_by: LimitedBy
    setting: str = ""
    caller: str = ""
    function: str = ""
    request: str = ""
    count: int = 1
    dry_run: bool = False

    def _phrases(self) -> Words:
        shown = self.fields()
        return {
            "what": "dry run: would have given up on" if self.dry_run else "gave up on",
            "target": f"{shown['service']} {shown['peer']}".strip(),
            "source": limit_source(self.limited_by, shown["setting"]),
            "times": f"; {self.count} times since this was last logged" if self.count > 1 else "",
            "fix": _fix(self.limited_by),
        }


def _fix(by: LimitedBy) -> str:
    if by == "request_deadline":
        return " Fix: find what is slow there, or give this request more time (REQUEST.PATHS)."
    if by in ("default", "default_in_request", "setting"):
        return " Fix: give the driver a connect timeout of its own, or set DRIVERS.CONNECT_TIMEOUT."
    return ""
