"""Which lines of the app call without a timeout or for longer than the limits allow: report mode's,
and what was ended.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
from typing import TYPE_CHECKING, List, Optional

from .. import events, servers
from ..core.seldom import Seldom
from ..core.system import SYSTEM, PerProcess
from ..errors import Unavailable
from ..events.upstreams import PROBLEMS, Problem
from ..settings.options import REPORT
from . import ledger
from .app_line import caller
from .call_sites import MOST_SITES, Site, Sites, count
from .dry_run import DryRun
from .policy import Limit, installed

if TYPE_CHECKING:
    from .exchange import Exchange

SAVING_AT_MOST = 0.05
"""The share of its time that a process spends on saving what it has noticed for its instance; what
is new is saved at once.
"""

LOGGED_EVERY = 60.0
"""Seconds between two log lines about the same line of the app; the next one counts what came in
between.
"""

_given_up = Seldom(LOGGED_EVERY)  # by line of the app and host

_SECRET = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[^/]{16,}")


def gave_up(exchange: Exchange, elapsed: float, limit: Limit) -> None:
    """Report a call that a limit has ended: log it once a minute for each line of the app, count it
    for the verb `report`.
    """
    who = caller()
    method, host, port, path = exchange.called()
    count = _given_up.due((who, host))
    event = events.OutboundTimedOut(
        host=host,
        phase=exchange.phase,
        elapsed=elapsed,
        limit=limit.seconds if math.isfinite(limit.seconds) else None,
        limited_by=limit.by,
        setting="" if limit.by == "request_deadline" else limit.setting,
        port=port or 0,
        method=method,
        # a token in a path (a bot's, a webhook's) is as secret as one in a query
        path=_SECRET.sub("*", path),
        caller=who.line,
        function=who.function,
        request=exchange.request,
        count=max(count, 1),
    )
    (events.emit if count else events.publish)(event)
    problem = f"given up after {limit.seconds:g} s ({limit.source})"
    note(Site(who.line, exchange.host, problem, 1, elapsed))


class _Noticed:
    """What this process has noticed, and what of it the instance does not know yet."""

    def __init__(self) -> None:
        self.all: Sites = {}
        self.unsaved: Sites = {}
        self.save_next = 0.0  # not before then, on the monotonic clock
        self.lock = threading.Lock()


_noticed = PerProcess(_Noticed)


def sites() -> List[Site]:
    """Return the call sites that were noticed in this process, the most frequent first."""
    return ledger.merge(list(_noticed.get().all.values()))


def forget() -> None:
    """Forget what was noticed and logged."""
    _noticed.clear()
    _given_up.forget()


def observe(exchange: Exchange, timeout_given: bool, none_given: bool) -> None:
    """Note a call that has ended, if it had no timeout or took longer than it may."""
    dry_run = exchange.dry_run
    if dry_run is None and not (none_given and installed.policy.explicit_none == REPORT):
        return
    site, elapsed = (dry_run and dry_run.line) or caller().line, SYSTEM.monotonic() - exchange.start
    if dry_run is not None:
        dry_run.site = site
        dry_run.compare(dry_run.total(exchange.limits.total), elapsed)
        if _note_overruns(exchange, dry_run):
            return
    if timeout_given:
        return
    problem: Problem = "timeout_none" if none_given else "no_timeout"
    note(
        Site(site, exchange.host, PROBLEMS[problem], 1, elapsed),
        events.OutboundUnbounded(exchange.host, site, problem, elapsed),
    )


def observe_body(exchange: Exchange) -> None:
    """Note what was read of a response after the call that `observe` has seen, if that took longer
    than it may.
    """
    dry_run = exchange.dry_run
    if dry_run is not None and dry_run.site:
        if not exchange.has_stream_flag:  # the total covers the body
            dry_run.compare(dry_run.total(exchange.limits.total), dry_run.last - exchange.start)
        _note_overruns(exchange, dry_run)


def _note_overruns(exchange: Exchange, dry_run: DryRun) -> bool:
    found = dry_run.take()
    for limit, seconds in found.items():
        event = events.OutboundUnbounded(
            exchange.host,
            dry_run.site,
            "beyond_limit",
            seconds,
            limit.seconds,
            limit.by,
            limit.setting,
        )
        problem = f"beyond {limit.seconds:g} s ({limit.source})"
        note(Site(dry_run.site, exchange.host, problem, 1, seconds), event)
    return bool(found)


def note(site: Site, event: Optional[events.Event] = None) -> None:
    """Count a call; the first time that its call site is seen, emit the event, if there is one."""
    noticed = _noticed.get()
    new = (site.site, site.problem) not in noticed.all
    if new and len(noticed.all) >= MOST_SITES:
        return
    count(noticed.all, site)
    count(noticed.unsaved, site)
    if new and event is not None:
        events.emit(event)
    if new or SYSTEM.monotonic() > noticed.save_next:
        save()


def save() -> None:
    """Add what this process has noticed to what its instance knows, if it is one of an instance."""
    noticed = _noticed.get()
    master = servers.detect().identity().master_pid
    if not master or not noticed.unsaved or not noticed.lock.acquire(blocking=False):
        return
    try:
        began = SYSTEM.monotonic()
        unsaved, noticed.unsaved = noticed.unsaved, {}
        saved = False
        with contextlib.suppress(OSError, Unavailable):  # no room in shared memory
            saved = ledger.add(unsaved.values())
        if not saved:  # or another worker is just at it: the next time
            for key, site in unsaved.items():
                later = noticed.unsaved.get(key)
                noticed.unsaved[key] = site if later is None else site.plus(later)
        ended = SYSTEM.monotonic()
        noticed.save_next = ended + (ended - began) / SAVING_AT_MOST
    finally:
        noticed.lock.release()
