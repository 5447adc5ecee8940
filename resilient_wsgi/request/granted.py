"""How long a request gets: the smallest of what harakiri leaves, REQUEST.TIMEOUT or PATHS, the router and its caller grant."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Callable, List, Optional

from ..settings import Request
from .deadline import Granted
from .paths import matcher, path_of
from .running import WAITED

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Limit = Callable[["WSGIEnvironment"], Optional[float]]

# what is left when the time was up before we began: the app is called, but waits for nobody
LEAST = 0.01
_MILLISECONDS = re.compile(r"\d{1,9}")
# gRPC over HTTP2: TimeoutValue is at most 8 digits
_GRPC = re.compile(r"(\d{1,8})([HMSmun])")
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def ordinary(options: Request, harakiri_leaves: float) -> float:
    """Return the seconds of a request that nothing else is said about; infinity for no limit."""
    return min(harakiri_leaves, math.inf if options.timeout is None else options.timeout)


def by_request(options: Request, harakiri_leaves: float) -> Optional[Granted]:
    """Return a function that tells it for each request, None where it is the same for all."""
    limits: List[Limit] = [_from_header(name) for name in options.trusted_headers]
    if options.router_timeout is not None:
        limits.append(_router(options.router_timeout))
    base = _by_path(options, harakiri_leaves) if options.paths else None
    if base is None and not limits:
        return None
    usual = ordinary(options, harakiri_leaves)

    def granted(environ: WSGIEnvironment) -> float:
        seconds = usual if base is None else base(environ)
        for limit in limits:
            less = limit(environ)
            if less is not None and less < seconds:
                seconds = max(less, LEAST)
        return seconds

    return granted


def _by_path(options: Request, harakiri_leaves: float) -> Granted:
    usual = ordinary(options, harakiri_leaves)
    table = [
        (matcher([pattern]), min(harakiri_leaves, math.inf if seconds is None else seconds))
        for pattern, seconds in options.paths.items()
    ]

    def granted(environ: WSGIEnvironment) -> float:
        path = path_of(environ)
        return next((seconds for matches, seconds in table if matches(path)), usual)

    return granted


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
