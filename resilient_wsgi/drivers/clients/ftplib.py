"""ftplib, which `urlopen("ftp://...")` uses: connecting, commands, transfers end at the deadline.

A transfer that ends so raises: the end of the file would pass for the whole file.
"""

from __future__ import annotations

from typing import Any

from ..sockets import own_timeout
from . import To, need

SERVICE = "ftplib"
_NOT_GIVEN = -999  # ftplib's own mark


def patch(module: Any, to: To) -> None:
    """Wrap connecting, and the connections for data."""
    need(module.FTP, "connect", "ntransfercmd")
    to.wrap(module.FTP, "connect", lambda original: _connect(original, to))
    to.wrap(module.FTP, "ntransfercmd", lambda original: _transfer(original, to))


def _connect(original: Any, to: To) -> Any:
    def connect(
        ftp: Any,
        host: Any = "",
        port: Any = 0,
        timeout: Any = _NOT_GIVEN,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        asked = ftp.timeout if timeout == _NOT_GIVEN else timeout
        own = own_timeout(asked)
        if own == 0:  # an error, which ftplib raises itself
            return original(ftp, host, port, timeout, *args, **kwargs)
        with to.limits.connecting(
            SERVICE, own, lambda: f"{host or ftp.host}:{port or ftp.port}"
        ) as connecting:
            given = asked if connecting.seconds == own else connecting.seconds
            try:
                greeting = original(ftp, host, port, given, *args, **kwargs)
            finally:
                ftp.timeout = asked
        _adopt(ftp.sock, own, given is not asked, to)
        return greeting

    return connect


def _transfer(original: Any, to: To) -> Any:
    def ntransfercmd(ftp: Any, *args: Any, **kwargs: Any) -> Any:
        asked, own = ftp.timeout, own_timeout(ftp.timeout)
        with to.limits.connecting(SERVICE, own, lambda: f"{ftp.host}:{ftp.port}") as connecting:
            given = asked if connecting.seconds == own else connecting.seconds
            ftp.timeout = given
            try:
                conn, size = original(ftp, *args, **kwargs)
            finally:
                ftp.timeout = asked
        _adopt(conn, own, given is not asked, to)
        return conn, size

    return ntransfercmd


def _adopt(sock: Any, own: Any, changed: bool, to: To) -> None:
    if changed:
        sock.settimeout(own)
    to.sockets.adopt(sock, SERVICE)
