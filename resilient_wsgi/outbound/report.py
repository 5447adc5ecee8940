"""Report mode: which places in the app call without a timeout, or longer than the limits would allow."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Dict, List, Tuple

from .. import events
from ..settings import REPORT
from . import policy
from .exchange import Exchange

_MOST_SITES = 1000

# packages that stand between the app's line and the socket
_CLIENTS = frozenset(
    ("resilient_wsgi", "wrapt", "http", "urllib", "urllib3", "requests", "httpx", "httpcore", "contextlib", "ssl", "socket",
     "botocore", "boto3", "s3transfer", "elastic_transport", "elasticsearch", "opensearchpy", "sentry_sdk", "opentelemetry",
     "xmlrpc", "concurrent", "threading")
)  # fmt: skip


@dataclass
class Site:
    """A line of the app that makes outbound calls, and what the limits would have said to them."""

    site: str
    host: str
    problem: str
    count: int
    worst: float

    def __str__(self) -> str:
        return f"{self.site} called {self.host} {self.problem}: {self.count} x, at worst {self.worst:.2f} s"


_sites: Dict[Tuple[str, str], Site] = {}


def sites() -> List[Site]:
    """Return the call sites that were noticed in this process, the most frequent first."""
    return sorted(_sites.values(), key=lambda s: (s.count, s.worst), reverse=True)


def forget() -> None:
    """Begin anew."""
    _sites.clear()


def observe(exchange: Exchange, timeout_given: bool, none_given: bool) -> None:
    """Note a call that has ended, if it had no timeout or took longer than it may."""
    if not exchange.report and not (none_given and policy.policy.options.explicit_none == REPORT):
        return
    elapsed = time.monotonic() - exchange.start
    if elapsed > exchange.limits.total.seconds:
        problem = f"beyond {exchange.limits.total.seconds:g} s ({exchange.limits.total.source})"
    elif none_given:
        problem = "with timeout=None"
    elif not timeout_given:
        problem = "without a timeout"
    else:
        return
    note(call_site(), exchange.host, problem, elapsed)


def note(where: str, host: str, problem: str, elapsed: float) -> None:
    """Count a call site; the first time also emit the event."""
    site = _sites.get((where, problem))
    if site is None:
        if len(_sites) >= _MOST_SITES:
            return
        _sites[where, problem] = Site(where, host, problem, 1, elapsed)
        events.emit(events.OutboundUnbounded(host, where, problem, elapsed))
        return
    site.count += 1
    site.worst = max(site.worst, elapsed)


def call_site() -> str:
    """Return file:line of the innermost frame that belongs to no HTTP library."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads source files
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _CLIENTS:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
