"""The deadline of a request: in time to answer before harakiri, which kills the worker with everything in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, Optional

from .. import deadline as carried
from ..deadline import Deadline
from ..events import RequestSlow, emit
from ..system import SYSTEM, System
from .body import with_deadline

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# the master looks once a second at whole seconds, so harakiri comes up to one second early (core/utils.c, set_harakiri)
HARAKIRI_EARLY = 1.0

# a function call less for each: this is in the way of every request
_get, _set, _reset = carried.CURRENT.get, carried.CURRENT.set, carried.CURRENT.reset


def granted(timeout: Optional[float], harakiri: Optional[float], reserve: float) -> Optional[float]:
    """Return the seconds that a request gets: REQUEST.TIMEOUT or what harakiri leaves, the smaller; None for no limit.

    Harakiri leaves `harakiri - 1 - reserve`, but at least a quarter of itself: with `harakiri = 1` there would be nothing.
    """
    if harakiri is None:
        return timeout
    left = max(harakiri - HARAKIRI_EARLY - reserve, harakiri / 4)
    return left if timeout is None else min(timeout, left)


class RequestDeadline(Deadline):
    """A deadline that names its request, in words made only when somebody asks."""

    __slots__ = ("_environ",)

    def __init__(self, now: float, limit: float, environ: WSGIEnvironment, system: System) -> None:
        self.at = now + limit
        self.limit = limit
        self._environ = environ
        self._system = system

    @property
    def source(self) -> str:  # type: ignore[override]
        """Return which request it is the deadline of."""
        return "request deadline of {} {}".format(*named(self._environ))


class DeadlineMiddleware:
    """Set the deadline for each request, its response's iteration and `close()` included.

    Nothing is interrupted by it: outbound HTTP ends in time, and so does code that asks `deadline.remaining()`.
    `seconds` is the time that a request gets.
    """

    def __init__(self, app: WSGIApplication, seconds: float, system: System = SYSTEM) -> None:
        self._app = app
        self._seconds = seconds
        self._system = system
        self._now = system.monotonic

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        deadline: Deadline = RequestDeadline(self._now(), self._seconds, environ, self._system)
        around = _get()
        if around is not None and around.at < deadline.at:
            deadline = around
        before = _set(deadline)
        try:
            result = self._app(environ, start_response)
        finally:
            _reset(before)
        return with_deadline(result, deadline, environ)


class SlowReport:
    """Report mode: set no deadline, but say which calls of the app took longer than theirs would have been."""

    def __init__(self, app: WSGIApplication, seconds: float, system: System = SYSTEM) -> None:
        self._app = app
        self._seconds = seconds
        self._system = system

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = self._system.monotonic()
        try:
            return self._app(environ, start_response)
        finally:
            elapsed = self._system.monotonic() - began
            if elapsed > self._seconds:
                emit(RequestSlow(*named(environ), elapsed, self._seconds))


def named(environ: WSGIEnvironment) -> tuple[str, str]:
    """Return method and path of a request, for messages: without the query, which may hold secrets."""
    return environ.get("REQUEST_METHOD", "?"), environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
