"""What a server logs at startup: that the library is active, in which modes, and the
request deadline.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
from typing import Mapping, Sequence

from . import servers
from .core import frames
from .core.guard import Guard
from .core.log import named
from .servers import Server
from .settings.options import OFF, Settings

_logger = named()
_guard = Guard("startup")
LOOPS = ("gevent", "gevent-monkey-patch", "gevent-early-monkey-patch", "asyncio", "async", "loop")
# the doctor has so long
MOST_SECONDS = 30.0
MOST_SECONDS_IN_LOOP = 5.0

NOT_INSTALLED = (
    "[RW002] wrap() without install(): outbound calls are not limited, threads are not stopped, "
    "log writes may block. "
    "Fix: call resilient_wsgi.install() before wrap()"
)


class Startup:
    """Logs one line for each server process group, again only if it has changed by then."""

    def __init__(self) -> None:
        self._states: Sequence[str] = ()
        self._settings = Settings()
        self._logged = ""

    def prepare(
        self, states: Sequence[str], settings: Settings, *, in_master: bool = False
    ) -> None:
        """Take what was installed, and log it as soon as this process is a worker that serves.

        What was installed in a master is often changed by the app, which may be loaded later.
        """
        self._states, self._settings = states, settings
        server = servers.detect()
        (server.hooks.ready.add if in_master else server.hooks.serving.add)(self.log)
        # a later install() may come when this worker serves already
        if self._logged:
            self.log()

    def cancel(self) -> None:
        """Log nothing any more; what was logged is not logged again when everything is put back."""
        servers.detect().hooks.forget(self.log)

    def log(self) -> None:
        """Log the line, in the first worker of an instance; not in a script or a test, whose output
        it would be in the middle of.
        """
        if servers.detect().name == Server.name:
            return
        reason = frames.why_not()  # which only a worker can tell
        text = line(self._states, self._settings) + (f"; no stacks: {reason}" if reason else "")
        if text != self._logged and servers.detect().is_first_worker():
            first, self._logged = not self._logged, text
            say(text)
            if first:
                _examine(servers.detect().configuration.options())


def _examine(options: Mapping[str, str]) -> None:
    """Have the doctor look at the options of this instance, beside its requests: that takes a
    process of its own some 0.2 s.

    Not in a thread where a loop makes greenlets of threads, now or later.
    """
    if any(name in options for name in LOOPS):
        _say_findings(MOST_SECONDS_IN_LOOP)
    elif options:
        name = "resilient_wsgi doctor"
        threading.Thread(target=_say_findings, name=name, daemon=True).start()


def _say_findings(seconds: float = MOST_SECONDS) -> None:
    """Log the errors and warnings that the doctor finds in the options of this instance."""
    with _guard:
        from .doctor import apart

        configuration = servers.detect().configuration
        text = apart.line(configuration.options(), configuration.versions(), seconds)
        if text:
            say(text)


def line(states: Sequence[str], settings: Settings) -> str:
    """Return the line: version, server, each component's mode, the deadline of requests."""
    from . import __version__

    return (
        f"[RW001] resilient_wsgi {__version__} on {servers.detect().name}: {', '.join(states)}; "
        f"requests: {deadline_of(settings)}{_killed_first(settings)}"
        f"{_unseen_hang_ups(settings)}"
    )


def _killed_first(settings: Settings) -> str:
    """Return a hint where the server kills a worker for one request before its outbound calls have
    had their time.
    """
    server = servers.detect()
    kills = server.harakiri.kills_after()
    if kills is None or settings.outbound.mode == OFF:
        return ""
    from .outbound.policy import Policy
    from .request.budget import Budget

    total = Policy(settings.outbound).in_request.total.seconds
    if total <= kills or (
        settings.request.mode != OFF and Budget(settings.request, server).usual < kills
    ):
        return ""
    ends = "have no total limit" if total == math.inf else f"may take {total:g} s"
    return (
        f"; {server.name} kills a worker after {kills:g} s (timeout), and outbound calls {ends}: "
        f"set REQUEST.TIMEOUT below {kills:g}"
    )


def _unseen_hang_ups(settings: Settings) -> str:
    """Return a hint where nothing can be learned about how long clients wait."""
    overload, request = settings.overload, settings.request
    limited = overload.target is not None or overload.max_wait is not None
    knows = request.mode != OFF and request.client_gone is True
    if (
        overload.mode == OFF
        or limited
        or knows
        or not servers.detect().connections.hides_hang_ups()
    ):
        return ""
    return (
        "; overload: nothing is shed, because plain HTTP over TCP does not show clients that hang "
        "up: set OVERLOAD.TARGET, or listen on a UNIX socket"
    )


def deadline_of(settings: Settings) -> str:
    """Return what deadline requests have here, in words, or how to get one.

    Only a wrapped app has one. An app that is still being loaded may be wrapped yet.
    """
    if settings.request.mode == OFF:
        return "no deadline: REQUEST.MODE is off"
    from .request.budget import Budget
    from .request.component import NO_APP, Request

    request = Request.here()
    if request.unwrapped():
        return f"no deadline: {NO_APP}"
    budget = Budget(settings.request, servers.detect())
    words = budget.in_words()
    return words if request.wrapped or not budget.limited else f"{words}, once an app is wrapped"


def say(text: str) -> None:
    """Log a line, or write it to standard error where the app's logging has no place for it.

    Servers write their own startup there; without a handler, `logging` drops what is below WARNING.
    """
    if _logger.isEnabledFor(logging.INFO) and _logger.hasHandlers():
        _logger.info("%s", text)
    elif sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # closed, or not read
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def warn_not_installed() -> None:
    """Log that an app was wrapped and nothing was installed."""
    _logger.warning(NOT_INSTALLED)
