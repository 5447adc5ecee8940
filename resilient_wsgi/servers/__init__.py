"""Which server this process runs in: the one place that knows the differences."""

from __future__ import annotations

import sys
from typing import Optional

from . import celery, gunicorn, runserver
from .base import Boot, Identity, Server
from .plain import PlainServer

__all__ = ["Boot", "Identity", "Server", "detect", "use"]

_server: Optional[Server] = None


def detect() -> Server:
    """Return the server of this process, always the same object; a fork inherits it."""
    global _server
    if _server is None:
        _server = _make()
    return _server


def use(server: Optional[Server]) -> None:
    """Have `detect()` return this one, or look anew with None. For tests."""
    global _server
    _server = server


def _make() -> Server:
    if "uwsgi" in sys.modules or "uwsgi" in sys.builtin_module_names:
        try:
            from .uwsgi import UwsgiServer
        except ImportError:  # a module of that name that is not the server's
            pass
        else:
            return UwsgiServer()
    if gunicorn.running():
        return gunicorn.GunicornServer()
    if celery.running():
        return celery.CeleryServer()
    if runserver.running():
        return runserver.RunserverServer()
    return PlainServer()
