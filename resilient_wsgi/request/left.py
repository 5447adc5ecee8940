"""Clients that hang up while their request runs."""

from __future__ import annotations

from typing import Callable

from ..core.environ import method_and_path
from ..events import ClientLeft, Event
from .client_gone import hung_up
from .running import RequestDeadline

# what may be ended half done: the others' effects must be finished
SAFE_METHODS = ("GET", "HEAD")


def look(
    request: RequestDeadline, now: float, report: bool, announce: Callable[[Event], object]
) -> None:
    """See whether the client of a request is gone; once, say so and, unless it is only to be
    reported, end its waits.

    Its deadline then is now, so whatever asks for the time left ends as well. The descriptor may be
    another connection's by now, if the request has just ended: then nothing of it waits any more,
    and an event too many is all that comes of it.
    """
    if request.client_gone or not hung_up(request.client_fd):
        return
    request.client_gone = True
    method, path = method_and_path(request.environ)
    ended = 0
    if not report and method in SAFE_METHODS:
        request.at = now
        ended = sum(wait.interrupt() for wait in list(request.waits))
    announce(ClientLeft(method, path, now - request.start, ended))
