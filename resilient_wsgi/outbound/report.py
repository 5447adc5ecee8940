"""Report mode: which places in the app call without a timeout, or longer than the limits would allow."""

from __future__ import annotations

import os
import sys
import threading
from typing import List

from .. import events, servers
from ..settings import REPORT
from ..system import SYSTEM
from . import ledger, policy
from .exchange import Exchange
from .sites import MOST_SITES, Site, Sites, count
from .watched import Watch

SAVING_AT_MOST = 0.05
"""The share of its time that a process spends on telling its instance what it has noticed. What is new it tells at once."""

# packages that stand between the app's line and the socket
_CLIENTS = frozenset(
    ("resilient_wsgi", "wrapt", "http", "urllib", "urllib3", "requests", "httpx", "httpcore", "contextlib", "ssl", "socket",
     "botocore", "boto3", "s3transfer", "elastic_transport", "elasticsearch", "opensearchpy", "sentry_sdk", "opentelemetry",
     "xmlrpc", "concurrent", "threading")
)  # fmt: skip


class _Noticed:
    """What this process has noticed, and what of it the instance does not know yet."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.all: Sites = {}
        self.unsaved: Sites = {}
        self.save_next = 0.0  # not before then, on the monotonic clock
        self.lock = threading.Lock()


_noticed = _Noticed()


def sites() -> List[Site]:
    """Return the call sites that were noticed in this process, the most frequent first."""
    return ledger.merge(list(_noticed.all.values()))


def forget() -> None:
    """Begin anew."""
    global _noticed
    _noticed = _Noticed()


def observe(exchange: Exchange, timeout_given: bool, none_given: bool) -> None:
    """Note a call that has ended, if it had no timeout or took longer than it may."""
    watch = exchange.watch
    if watch is None and not (none_given and policy.policy.explicit_none == REPORT):
        return
    site, elapsed = call_site(), SYSTEM.monotonic() - exchange.start
    if watch is not None:
        watch.site = site
        watch.compare(watch.total(exchange.limits.total), elapsed)
        if _note_overruns(exchange, watch):
            return
    if timeout_given:
        return
    if none_given:
        note(Site(site, exchange.host, "with timeout=None", 1, elapsed))
    else:
        note(Site(site, exchange.host, "without a timeout", 1, elapsed))


def observe_body(exchange: Exchange) -> None:
    """Note what was read of a response after the call that `observe` has seen, if that took longer than it may."""
    watch = exchange.watch
    if watch is not None and watch.site:
        if not exchange.flagged:  # the total covers the body
            watch.compare(watch.total(exchange.limits.total), watch.last - exchange.start)
        _note_overruns(exchange, watch)


def _note_overruns(exchange: Exchange, watch: Watch) -> bool:
    found = watch.take()
    for limit, seconds in found.items():
        note(Site(watch.site, exchange.host, f"beyond {limit.seconds:g} s ({limit.source})", 1, seconds))
    return bool(found)


def note(site: Site) -> None:
    """Count a call; the first time that its place is seen, emit the event."""
    global _noticed
    if _noticed.pid != os.getpid():  # the parent of this process tells of its own
        _noticed = _Noticed()
    new = (site.site, site.problem) not in _noticed.all
    if new and len(_noticed.all) >= MOST_SITES:
        return
    count(_noticed.all, site)
    count(_noticed.unsaved, site)
    if new:
        events.emit(events.OutboundUnbounded(site.host, site.site, site.problem, site.worst))
    if new or SYSTEM.monotonic() > _noticed.save_next:
        save()


def save() -> None:
    """Add what this process has noticed to what its instance knows, if it is one of an instance."""
    noticed = _noticed
    master = servers.detect().identity().master_pid
    if not master or not noticed.unsaved or not noticed.lock.acquire(blocking=False):
        return
    try:
        began = SYSTEM.monotonic()
        unsaved, noticed.unsaved = noticed.unsaved, {}
        if not ledger.add(unsaved.values()):  # another worker is just at it: the next time
            for key, site in unsaved.items():
                later = noticed.unsaved.get(key)
                noticed.unsaved[key] = site if later is None else site.plus(later)
        ended = SYSTEM.monotonic()
        noticed.save_next = ended + (ended - began) / SAVING_AT_MOST
    finally:
        noticed.lock.release()


def call_site() -> str:
    """Return file:line of the innermost frame that belongs to no HTTP library."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads source files
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _CLIENTS:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
