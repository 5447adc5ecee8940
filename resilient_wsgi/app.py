"""`wrap`: the middleware of all components around an app, in an order that is decided once; `load`:
the same around an app that is named.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Callable, FrozenSet, Iterable, List, Optional, Tuple

from . import installation, servers, startup
from .core.app_entries import calls_the_app
from .core.environ import PICKED_UP, QUEUE_START, REQUEST_START
from .settings import sources
from .settings.options import OFF, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .component import ErrorStreams

# a plain tuple: one of a class of its own takes longer to be unpacked
Parts = Tuple[
    Tuple[Callable[..., Optional[Iterable[bytes]]], ...],
    bool,
    FrozenSet[str],
    "Optional[ErrorStreams]",
    "WSGIApplication",
]

INSIDE = "resilient_wsgi.wrapped"

_COPYING = frozenset({"__wrapped__", "__copy__", "__deepcopy__", "__getstate__", "__setstate__"})

# not empty while wrapped apps are called directly, without their middleware: see `testing.off`. A
# list, which is looked at in each request faster than an attribute
_bypassed: List[bool] = []


class Wrapped:
    """An app with the middleware around it. Attributes of the app are reached through it.

    What has nothing to do in most requests is not a layer around the app but a gate: gates are gone
    through only where one of them may have something to do. In a busy server, what a layer needs
    has fallen out of the processor's caches since the request before, and fetching it takes longer
    than its work (docs/requests.md has the figures).
    """

    def __init__(
        self, app: WSGIApplication, settings: Settings, wants_install: bool = True
    ) -> None:
        self.__wrapped__ = app
        self._settings = settings
        self._wants_install = wants_install  # `load()` does not: it is of use by itself
        ready = servers.detect().ready
        usual = _parts(app, settings)

        def first(environ: WSGIEnvironment, start_response: StartResponse) -> None:
            # where no hook of the server has said that this worker is ready, its first request
            # does; no master serves any
            del environ, start_response
            self._parts = usual
            if wants_install and installation.current() is None and not _bypassed:
                startup.warn_not_installed()
            ready()

        self._parts = ((first, *usual[0]), True, *usual[2:])

    @calls_the_app
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        gates, always, paths, errors, inner = self._parts
        # an outer one may be at work already: Django's handler inside
        # `wrap(get_wsgi_application())`
        if INSIDE in environ or _bypassed:
            return self.__wrapped__(environ, start_response)
        environ[INSIDE] = True
        if errors is not None and type(environ.get("wsgi.errors")) is not errors.elsewhere:
            errors.put(environ)
        answer = None
        if (
            always
            or environ.get("PATH_INFO") in paths
            or REQUEST_START in environ
            or QUEUE_START in environ
        ):
            for gate in gates:
                answer = gate(environ, start_response)
                if answer is not None:
                    break
        if answer is None:
            answer = inner(environ, start_response)
            if PICKED_UP in environ:
                environ[PICKED_UP].answered()
        if errors is not None and errors.writer.busy:
            errors.drain()
        return answer

    def __getattr__(self, name: str) -> object:
        # copy and pickle ask before there is an app to ask; what makes one of those of an app makes
        # none of us
        if name in _COPYING:
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __reduce__(self) -> Tuple[object, ...]:
        """Have copies and pickles be of the app, wrapped again: as a function, by its name where it
        has one.
        """
        module, name = (
            getattr(self.__wrapped__, each, None) for each in ("__module__", "__qualname__")
        )
        if getattr(sys.modules.get(module or ""), name or "", None) is self:
            return _by_name, (module, name)
        return Wrapped, (self.__wrapped__, self._settings, self._wants_install)

    def __repr__(self) -> str:
        return f"<Wrapped {self.__wrapped__!r}>"


def _by_name(module: str, name: str) -> object:
    return getattr(import_module(module), name)


def bypass(on: bool) -> None:
    """Have every wrapped app called directly, or again through its middleware.

    For `testing.off`.
    """
    _bypassed[:] = [True] if on else []


def wrap(app: WSGIApplication) -> WSGIApplication:
    """Return the app with the middleware of all components that are on; wrapping twice is wrapping
    once.

    What is on is decided here, by the settings of `install()` (or, if that was not called, of the
    environment): call `install()` first. Raises `TypeError` if `app` cannot be called.
    """
    return _wrap(app, wants_install=True)


def _wrap(app: WSGIApplication, *, wants_install: bool) -> WSGIApplication:
    if not callable(app):
        msg = f"wrap() takes a WSGI application, a callable; got {app!r}"
        raise TypeError(msg)
    if isinstance(app, Wrapped):
        return app
    installed = installation.current()
    return Wrapped(
        app, installed.settings if installed else installation.of_environment(), wants_install
    )


def load(spec: str) -> WSGIApplication:
    """Import the app `"pkg.mod:attr"` and return it in the middleware of `resilient_wsgi.wrap`.

    `"pkg.mod"` means `"pkg.mod:application"`; `"pkg.mod:make()"` calls a factory without arguments.
    What the import raises is raised unchanged. A wrong name raises what Python itself would
    (`ModuleNotFoundError`, `AttributeError`), with the nearest name that exists; `ValueError` for
    another form, `TypeError` for something that is not callable. Under gunicorn (without
    `preload_app`) nothing is raised while another attempt may help: the worker exits, and its
    successor pauses and loads again.
    """
    from .readiness.app_by_name import find
    from .servers.gunicorn import Boot

    boot = Boot.current()
    if boot is None:
        return _wrap(find(spec), wants_install=False)
    from .readiness import gunicorn_worker

    installed = installation.current()
    settings = installed.settings if installed else sources.find().settings
    app = gunicorn_worker.load(lambda: find(spec), boot, settings.readiness)
    return _wrap(app, wants_install=False)


def _parts(app: WSGIApplication, settings: Settings) -> Parts:
    """Return the gates, whether they are for each request, the paths for which they are,
    `wsgi.errors`, the app with what each request passes through.
    """
    layers = list(installation.layers(settings))
    gates = [layer.gate(app) for layer in layers if layer.gate is not None]
    errors = next((layer.errors(app) for layer in layers if layer.errors is not None), None)
    inner = app
    for layer in reversed(layers):
        if layer.around is not None:
            inner = layer.around(inner)
    if settings.request.mode == OFF and settings.outbound.mode != OFF:
        # limits of outbound calls depend on whether a request makes them
        from .request.middleware import DeadlineMiddleware

        inner = DeadlineMiddleware(inner).__call__
    always = any(gate.always for gate in gates)
    paths = frozenset().union(*(gate.paths for gate in gates))
    return tuple(gate.answer for gate in gates), always, paths, errors, inner
