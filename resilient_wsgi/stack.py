"""`wrap`: the WSGI middleware of all components in its right order, decided once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Callable, Iterable, List

from . import installation, servers, sources
from .settings import OFF, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Layer = Callable[["WSGIApplication"], "WSGIApplication"]

INSIDE = "resilient_wsgi.wrapped"

_bypassed = False


class Wrapped:
    """An app with the middleware around it. Attributes of the app are reached through it."""

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self.__wrapped__ = app
        self._entry = _stack(app, settings)
        self._ready = servers.detect().ready
        self._served = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._served:  # where no hook of the server has said so, the first request does; no master serves any
            self._ready()
            self._served = True
        # an outer one may be at work already: Django's handler inside `wrap(get_wsgi_application())`
        if INSIDE in environ or _bypassed:
            return self.__wrapped__(environ, start_response)
        environ[INSIDE] = True
        return self._entry(environ, start_response)

    def __getattr__(self, name: str) -> object:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<Wrapped {self.__wrapped__!r}>"


def bypass(on: bool) -> None:
    """Have every wrapped app called directly, or again through its middleware. For `testing.off`."""
    global _bypassed
    _bypassed = on


def wrap(app: WSGIApplication) -> WSGIApplication:
    """Return the app with the middleware of all components that are on; wrapping twice is wrapping once.

    What is on is decided here, by the settings of `install()` (or, if that was not called, of the environment): call
    `install()` first. Raises `TypeError` if `app` cannot be called, `ConfigurationError` for settings that are wrong.
    """
    if not callable(app):
        msg = f"wrap() takes a WSGI application, a callable; got {app!r}"
        raise TypeError(msg)
    if isinstance(app, Wrapped):
        return app
    installed = installation.current()
    return Wrapped(app, installed.settings if installed else sources.read())


def _stack(app: WSGIApplication, settings: Settings) -> WSGIApplication:
    from . import readiness, request, stderr

    inward: List[Layer] = []
    if settings.readiness.mode != OFF and settings.readiness.probe_paths:
        inward.append(functools.partial(readiness.ReadinessMiddleware, options=settings.readiness))
    if settings.stderr.mode != OFF:
        inward.append(functools.partial(stderr.ErrorsMiddleware, options=settings.stderr))
    if settings.request.mode != OFF:
        inward += request.middleware(settings.request)
    for layer in reversed(inward):
        app = layer(app)
    return app
