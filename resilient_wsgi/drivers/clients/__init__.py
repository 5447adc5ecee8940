"""A module for each driver: its `patch(module, to)` is called when the driver is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core.patching import Patches

if TYPE_CHECKING:
    from ..limits import Limits
    from ..sockets import Sockets

CLIENTS = {
    "redis.connection": "redis",
    "psycopg": "psycopg",
    "pymysql.connections": "pymysql",
    "smtplib": "smtplib",
    "ftplib": "ftplib",
    "amqp.transport": "amqp",
    "kombu.connection": "kombu",
    "pymemcache.client.base": "pymemcache",
    "pymongo": "pymongo",
    "botocore.endpoint": "botocore",
    "grpc": "grpc",
}
"""The module of each driver that is waited for, and the name of the driver and of the module here,
which is imported with it.
"""


class UnknownVersion(Exception):
    """Raised by `patch` if a driver lacks what has to be wrapped, before anything is."""


class To:
    """What a driver is patched with."""

    def __init__(self, limits: Limits, sockets: Sockets, patches: Patches) -> None:
        self.limits = limits
        self.patches = patches
        self.sockets = sockets

    def wrap(self, owner: Any, name: str, make: Any) -> None:
        """Replace a function of a driver."""
        self.patches.wrap(owner, name, make)


def need(owner: Any, *names: str) -> None:
    """Raise `UnknownVersion` if a module or class has not all of these names."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        msg = f"no {owner.__name__}.{missing[0]}"
        raise UnknownVersion(msg)


__all__ = ["CLIENTS", "To", "UnknownVersion", "need"]
