"""Waits of and for clients: each request has a deadline, and no work is done for a client that is gone."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Callable, List, Optional, Sequence

from .. import servers
from ..settings import OFF, REPORT, Request
from .client_gone import ClientGoneMiddleware
from .deadline import DeadlineMiddleware, SlowReport, granted

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["ClientGoneMiddleware", "DeadlineMiddleware", "install", "middleware", "uninstall"]

Layer = Callable[["WSGIApplication"], "WSGIApplication"]


def middleware(options: Optional[Request] = None) -> List[Layer]:
    """Return what is to be put around an app, the outermost first."""
    options = options or Request()
    server = servers.detect()
    layers: List[Layer] = []
    if options.client_gone != OFF:
        layers.append(functools.partial(ClientGoneMiddleware, options=options, server=server))
    seconds = _granted(options)
    if seconds is not None:
        layers.append(functools.partial(SlowReport if options.mode == REPORT else DeadlineMiddleware, seconds=seconds))
    return layers


def install(options: Optional[Request] = None) -> Sequence[str]:
    """Return what the middleware does in the apps that are wrapped: it is put in place by `wrap()` and the Django app."""
    options = options or Request()
    seconds = _granted(options)
    return (
        "in wrapped apps",
        f"deadline {seconds:g} s"
        if seconds is not None
        else "no deadline: neither harakiri nor REQUEST.TIMEOUT is set",
        f"clients that are gone: {options.client_gone}",
    )


def uninstall() -> None:
    """Do nothing: middleware stays around the app that it was put around."""


def _granted(options: Request) -> Optional[float]:
    return granted(options.timeout, servers.detect().harakiri(), options.reserve)
