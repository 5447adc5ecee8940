"""The middleware of `wrap()` around Django's WSGI handler, so that wsgi.py needs no change."""

from __future__ import annotations

import sys
from types import MethodType
from typing import TYPE_CHECKING, Any, Iterable

from django.core.handlers.wsgi import WSGIHandler

from .. import servers
from ..app import wrap
from ..core.patching import Patches
from ..settings.options import OFF, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_STACK = "_resilient_wsgi_stack"


def patch(patches: Patches) -> None:
    """Have every WSGIHandler, made before or later, called through the middleware.

    Patching twice is patching once.
    """
    patches.wrap(WSGIHandler, "__call__", _in_middleware)


def _in_middleware(original: Any) -> Any:
    def __call__(
        self: Any, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        # made at the first call, when all settings are known; two threads may both make it, which
        # does no harm
        stack = self.__dict__.get(_STACK)
        if stack is None:
            stack = self.__dict__[_STACK] = wrap(MethodType(original, self))
        result: Iterable[bytes] = stack(environ, start_response)
        return result

    return __call__


def wanted(settings: Settings) -> bool:
    """Return whether there is anything to put around the handler."""
    sections = (settings.request, settings.stderr, settings.readiness, settings.outbound)
    return any(section.mode != OFF for section in sections)


def expected() -> bool:
    """Return whether this process will call Django's WSGI handler: a server's, and not for ASGI."""
    asgi = "django.core.handlers.asgi" in sys.modules and "django.core.wsgi" not in sys.modules
    return serving() and not asgi


def serving() -> bool:
    """Return whether this process is there to serve requests, not to run a management command."""
    return servers.detect().name in ("uwsgi", "gunicorn")
