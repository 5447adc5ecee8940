"""Which server this process runs in: the one place that knows the differences."""

from __future__ import annotations

import functools
import os
import sys
from typing import Callable, List, Optional

from . import celery, gunicorn, runserver
from .base import Boot, Identity, Server
from .plain import PlainServer

__all__ = ["Boot", "Identity", "Server", "detect", "known", "on_change", "use"]


class _Process:
    """The server of this process, once it was asked for, and who wants to know if it changes."""

    server: Optional[Server] = None

    def __init__(self) -> None:
        self.on_change: List[Callable[[], object]] = []


_process = _Process()


def detect() -> Server:
    """Return the server of this process, always the same object; a fork inherits it."""
    server = _process.server
    if server is None:
        server = _process.server = _make()
    return server


def on_change(callback: Callable[[], object]) -> None:
    """Run `callback` when a process that was taken for one without a server turns out to be a
    server's. Once is enough.
    """
    if callback not in _process.on_change:
        _process.on_change.append(callback)


def known() -> Optional[Server]:
    """Return the server if it was detected already.

    For code that may run before there is anything to see of it.
    """
    return _process.server


def use(server: Optional[Server]) -> None:
    """Have `detect()` return this one, or look again with None. For tests."""
    _process.server = server


def _make() -> Server:
    if "uwsgi" in sys.modules or "uwsgi" in sys.builtin_module_names:
        try:
            from .uwsgi.server import UwsgiServer
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
    _watch()
    return PlainServer()


@functools.cache
def _watch() -> None:
    """Look again when a server begins that the app was imported before: by a program of its own,
    which starts the server.

    gunicorn's arbiter shows itself by its stack in the child that it forks, Celery's worker by a
    signal.
    """
    os.register_at_fork(after_in_child=_look_again)
    celery.when_a_worker_begins(lambda: _become(celery.CeleryServer))


def _look_again() -> None:
    if type(_process.server) is PlainServer and gunicorn.running():
        _become(gunicorn.GunicornServer)


def _become(kind: Callable[..., PlainServer]) -> None:
    if type(_process.server) is not PlainServer:
        return
    server = kind(predecessor=_process.server)
    use(server)
    for callback in _process.on_change:
        callback()
    server.started()
