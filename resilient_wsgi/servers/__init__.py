"""Which server this process runs in: the one place that knows the differences."""

from __future__ import annotations

import os
import sys
from typing import Callable, List, Optional

from ..core.imports import when_imported
from . import plain
from .base import Identity, Server
from .plain import PlainServer

Kind = Callable[..., PlainServer]

__all__ = ["Identity", "Server", "detect", "known", "on_change", "use"]


class Detection:
    """Finds the server of this process; a fork inherits it."""

    def __init__(self) -> None:
        self.server: Optional[Server] = None
        self.callbacks: List[Callable[[], object]] = []
        self._watches = False

    def __repr__(self) -> str:
        return f"<Detection {self.server}>"

    def find(self) -> Server:
        """Return the server, looked for now if it is not known yet."""
        if self.server is None:
            self.server = self._make()
        return self.server

    def _make(self) -> Server:
        if "uwsgi" in sys.modules or "uwsgi" in sys.builtin_module_names:
            try:
                from .uwsgi.server import UwsgiServer
            except ImportError:  # a module of that name that is not the server's
                pass
            else:
                return UwsgiServer()
        kind = _gunicorn() or _celery()
        if kind is not None:
            return kind()
        if plain.is_runserver():
            return plain.RunserverServer()
        self._watch()
        return PlainServer()

    def _watch(self) -> None:
        """Look again when a server begins for which the app was imported before: by a program of
        its own, which starts the server.

        gunicorn's arbiter shows itself by its stack in the child that it forks, Celery's worker by
        a signal.
        """
        if self._watches:
            return
        self._watches = True
        os.register_at_fork(after_in_child=self._look_again)
        when_imported("celery.apps.worker", self._watch_celery)

    def _watch_celery(self, _module: object) -> None:
        from . import celery

        celery.when_a_worker_begins(lambda: self._become(celery.CeleryServer))

    def _look_again(self) -> None:
        kind = _gunicorn() if type(self.server) is PlainServer else None
        if kind is not None:
            self._become(kind)

    def _become(self, kind: Kind) -> None:
        if type(self.server) is not PlainServer:
            return
        self.server = server = kind(predecessor=self.server)
        for callback in self.callbacks:
            callback()
        server.started()


def _gunicorn() -> Optional[Kind]:
    """Return gunicorn's server if this is one of its processes. Imported only beside gunicorn."""
    if "gunicorn.arbiter" not in sys.modules:
        return None
    from . import gunicorn

    return gunicorn.GunicornServer if gunicorn.running() else None


def _celery() -> Optional[Kind]:
    """Return Celery's server if this is one of its processes. Imported only beside Celery."""
    if "celery" not in sys.modules:
        return None
    from . import celery

    return celery.CeleryServer if celery.running() else None


_detection = Detection()


def detect() -> Server:
    """Return the server of this process, always the same object."""
    return _detection.server or _detection.find()


def on_change(callback: Callable[[], object]) -> None:
    """Run `callback` when a process that was taken for one without a server turns out to be a
    server's. Adding it twice is adding it once.
    """
    if callback not in _detection.callbacks:
        _detection.callbacks.append(callback)


def known() -> Optional[Server]:
    """Return the server if it has been detected, else None: for code that may run too early to see
    anything of it.
    """
    return _detection.server


def use(server: Optional[Server]) -> None:
    """Have `detect()` return this server, or look again with None. For tests."""
    _detection.server = server
