"""Which lines of the app call without a timeout or for longer than the limits allow: report mode's,
and what was ended.
"""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING, Dict, List, Tuple

from .. import events, servers
from ..core.guard import Guard
from ..core.system import SYSTEM
from ..settings.options import REPORT
from . import ledger, policy
from .callers import Caller, caller
from .dry_run import Watch
from .policy import Limit
from .sites import MOST_SITES, Site, Sites, count

if TYPE_CHECKING:
    from .exchange import Exchange

guard = Guard("outbound")

SAVING_AT_MOST = 0.05
"""The share of its time that a process spends on telling its instance what it has noticed. What is new it tells at once."""

LOGGED_EVERY = 60.0
"""Seconds between two lines about the same line of the app; what comes in between is counted in the next one."""

_MOST_LINES = 1000


class _GivenUp:
    """Which lines of the app have been logged for a call that was ended: when, and how many calls
    since.
    """

    def __init__(self) -> None:
        self._logged: Dict[Tuple[Caller, str], Tuple[float, int]] = {}

    def due(self, key: Tuple[Caller, str]) -> int:
        """Return how many calls the line that is due now is about, 0 if none is."""
        now = SYSTEM.monotonic()
        logged, since = self._logged.get(key, (-LOGGED_EVERY, 0))
        if now - logged < LOGGED_EVERY:
            self._logged[key] = logged, since + 1
            return 0
        if len(self._logged) >= _MOST_LINES:
            self._logged.clear()
        self._logged[key] = now, 0
        return since + 1


_given_up = _GivenUp()

_SECRET = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[^/]{16,}")


def gave_up(exchange: Exchange, elapsed: float, limit: Limit) -> None:
    """Tell of a call that was ended by a limit: log it once a minute for each line of the app,
    count it for `report`.
    """
    who = caller()
    method, host, port, path = exchange.called()
    count = _given_up.due((who, host))
    event = events.OutboundTimedOut(
        host or "an unknown host", exchange.phase, elapsed, limit.seconds, limit.source, port or 0, method,
        # a token in a path (a bot's, a webhook's) is as secret as one in a query
        _SECRET.sub("*", path), who.line, who.function, exchange.request, _fix(host, limit), max(count, 1),
    )  # fmt: skip
    if count:
        events.emit(event)
    else:
        events.tell(event)
    note(
        Site(
            who.line,
            exchange.host,
            f"given up after {limit.seconds:g} s ({limit.source})",
            1,
            elapsed,
        ),
        tell=False,
    )


def _fix(host: str, limit: Limit) -> str:
    name = re.search(r"(CONNECT|READ|TOTAL)_TIMEOUT", limit.source)
    if name is not None and limit.by_default:
        return (
            f"if this upstream is slow by nature, set OUTBOUND.HOSTS[{host!r}][{name.group()!r}]."
        )
    if name is not None:
        return "if this upstream may take longer, raise that setting."
    if "request deadline" in limit.source:
        return "make the call in a background job, or give this request more time (REQUEST.PATHS, harakiri)."
    if "caller's timeout" in limit.source:
        return f"to let it take longer in all, set OUTBOUND.HOSTS[{host!r}]['TOTAL_TIMEOUT']."
    return ""


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
    global _given_up, _noticed
    _noticed, _given_up = _Noticed(), _GivenUp()


def observe(exchange: Exchange, timeout_given: bool, none_given: bool) -> None:
    """Note a call that has ended, if it had no timeout or took longer than it may."""
    watch = exchange.watch
    if watch is None and not (none_given and policy.policy.explicit_none == REPORT):
        return
    site, elapsed = (watch and watch.line) or caller().line, SYSTEM.monotonic() - exchange.start
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
    """Note what was read of a response after the call that `observe` has seen, if that took longer
    than it may.
    """
    watch = exchange.watch
    if watch is not None and watch.site:
        if not exchange.flagged:  # the total covers the body
            watch.compare(watch.total(exchange.limits.total), watch.last - exchange.start)
        _note_overruns(exchange, watch)


def _note_overruns(exchange: Exchange, watch: Watch) -> bool:
    found = watch.take()
    for limit, seconds in found.items():
        note(
            Site(
                watch.site,
                exchange.host,
                f"beyond {limit.seconds:g} s ({limit.source})",
                1,
                seconds,
            )
        )
    return bool(found)


def note(site: Site, tell: bool = True) -> None:
    """Count a call; the first time that its place is seen, emit the event, unless that is not to be
    told.
    """
    global _noticed
    if _noticed.pid != os.getpid():  # the parent of this process tells of its own
        _noticed = _Noticed()
    new = (site.site, site.problem) not in _noticed.all
    if new and len(_noticed.all) >= MOST_SITES:
        return
    count(_noticed.all, site)
    count(_noticed.unsaved, site)
    if new and tell:
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
