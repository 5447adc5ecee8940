"""How long a request gets: what harakiri leaves, REQUEST.TIMEOUT or PATHS, the router and its
caller.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Callable, List, Optional

from ..core.environ import WAITED, matcher, path_of
from ..servers import Server
from ..settings.options import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from .running import RequestDeadline

Granted = Callable[["WSGIEnvironment"], float]
Limit = Callable[["WSGIEnvironment"], Optional[float]]

# the master looks once a second at whole seconds, so harakiri comes up to one second early
# (core/utils.c, set_harakiri)
HARAKIRI_EARLY = 1.0
# a limit has moved if it is so much later than it was: less is what the master's clock differs by
MOVED = 1.0
# what is left when the time was up before the start: the app is called, but waits for nothing
LEAST = 0.01
_MILLISECONDS = re.compile(r"\d{1,9}")
# gRPC over HTTP2: TimeoutValue is at most 8 digits
_GRPC = re.compile(r"(\d{1,8})([HMSmun])")
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def harakiri_leaves(harakiri: Optional[float], reserve: float) -> float:
    """Return the seconds that harakiri leaves a request: `harakiri - 1 - reserve`, but at least a
    quarter of it, because with `harakiri = 1` there would be none. Infinity without harakiri.
    """
    return math.inf if harakiri is None else max(harakiri - HARAKIRI_EARLY - reserve, harakiri / 4)


class Budget:
    """How many seconds each request gets, by the options and the server.

    `usual` is for requests without a rule of their own, infinity for no limit; `by_request` is a
    function where the seconds differ between requests, None where they do not.
    """

    def __init__(self, options: Request, server: Server) -> None:
        self._options = options
        self._server = server
        self._leaves = harakiri_leaves(server.harakiri.seconds(), options.reserve)
        self._harakiri_of = server.harakiri.by_request()
        self._by_path = [
            (matcher([pattern]), math.inf if seconds is None else seconds)
            for pattern, seconds in options.paths.items()
        ]
        self._timeout = math.inf if options.timeout is None else options.timeout
        self._shorter = _shorter(options)
        self.usual = min(self._leaves, self._timeout)
        differs = self._harakiri_of or self._by_path or self._shorter
        self.by_request: Optional[Granted] = self._grant if differs else None

    @property
    def limited(self) -> bool:
        """Return whether any request may have a deadline."""
        return self.usual != math.inf or self.by_request is not None

    def in_words(self) -> str:
        """Return in words which deadline requests have, or how to get one."""
        options, harakiri = self._options, self._server.harakiri.seconds()
        if self._harakiri_of is not None:
            of = (
                "deadline: by the harakiri of each request, which routes and buffered bodies change"
            )
            return of if options.timeout is None else f"{of}, at most {options.timeout:g} s"
        if self.usual == math.inf:
            return f"no deadline: set {self._server.harakiri.remedy()} to get one"
        by = "REQUEST.TIMEOUT" if self.usual == self._timeout else f"harakiri {harakiri:g} s"
        return f"deadline {self.usual:g} s ({by})"

    def asked(self, environ: WSGIEnvironment) -> float:
        """Return the seconds that TIMEOUT or PATHS gives a request, infinity for no limit."""
        if self._by_path:
            path = path_of(environ)
            return next((seconds for fits, seconds in self._by_path if fits(path)), self._timeout)
        return self._timeout

    def most(self, request: RequestDeadline, elapsed: float) -> float:
        """Return how long a running request may take in all, as far as harakiri allows."""
        left = self._server.harakiri.left()
        if left is not None:
            return elapsed + self._before(left)
        # the harakiri of a request that has begun is known only where all have the same
        return self._leaves if self._harakiri_of is None else max(self._leaves, request.limit)

    def now(self, request: RequestDeadline, elapsed: float) -> float:
        """Return the limit of a running request, by the harakiri that is in force now."""
        left = self._server.harakiri.left()
        if left is None:
            return request.limit
        seconds = min(self.asked(request.environ), elapsed + self._before(left))
        seconds = self._as_short_as_asked(request.environ, seconds)
        return seconds if abs(seconds - request.limit) > MOVED else request.limit

    def _grant(self, environ: WSGIEnvironment) -> float:
        return self._as_short_as_asked(environ, min(self.asked(environ), self._harakiri(environ)))

    def _harakiri(self, environ: WSGIEnvironment) -> float:
        if self._harakiri_of is None:
            return self._leaves
        left = self._harakiri_of(environ)
        if left == self._server.harakiri.seconds():
            return self._leaves
        return math.inf if left is None else self._before(left)

    def _before(self, left: float) -> float:
        return max(left - self._options.reserve, left / 4)

    def _as_short_as_asked(self, environ: WSGIEnvironment, seconds: float) -> float:
        for limit in self._shorter:
            less = limit(environ)
            if less is not None and less < seconds:
                seconds = max(less, LEAST)
        return seconds


def _shorter(options: Request) -> List[Limit]:
    limits: List[Limit] = [_from_header(name) for name in options.trusted_headers]
    if options.router_timeout is not None:
        limits.append(_router(options.router_timeout))
    return limits


def _router(timeout: float) -> Limit:
    return lambda environ: timeout - environ.get(WAITED, 0.0)


def _from_header(name: str) -> Limit:
    key = "HTTP_" + name.upper().replace("-", "_")
    read = _read_grpc if key == "HTTP_GRPC_TIMEOUT" else _read_milliseconds

    def limit(environ: WSGIEnvironment) -> Optional[float]:
        value = environ.get(key)
        return None if value is None else read(value.strip())

    return limit


def _read_milliseconds(value: str) -> Optional[float]:
    return int(value) / 1000 if _MILLISECONDS.fullmatch(value) else None


def _read_grpc(value: str) -> Optional[float]:
    match = _GRPC.fullmatch(value)
    return int(match.group(1)) * _GRPC_UNITS[match.group(2)] if match else None
