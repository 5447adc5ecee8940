"""Put the limits on the HTTP clients, those that are loaded and those that will be; take them off
again.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, List, Optional, Sequence, Set

from .. import servers
from ..core.imports import when_imported
from ..core.patching import Patches
from ..settings.options import OFF, Outbound
from . import call, policy, report
from .patches import ALL
from .policy import Policy

_MOST_SITES_SHOWN = 50

_patches = Patches(passing=True)  # no policy, no exchange: each asks for one of the two first
_hooked: Set[str] = set()
_patched: Set[str] = set()


def install(options: Optional[Outbound] = None) -> Sequence[str]:
    """Put the limits on `http.client`, `urllib.request`, `urllib3`, `requests` and `httpx`, or
    change them.

    No client is imported: those that are not loaded yet are patched when they are. Calls that are
    under way keep the limits they began with. Returns by which means.
    """
    policy.replace(Policy(Outbound() if options is None else options))
    servers.detect().forget(_save)
    servers.detect().on_worker_stop(_save)
    for client in ALL:
        if client.MODULE not in _hooked:
            # a hook cannot be taken away, so it is set once and asks whether it is wanted
            _hooked.add(client.MODULE)
            when_imported(client.MODULE, functools.partial(_loaded, client))
        elif client.MODULE in sys.modules:
            _loaded(client, sys.modules[client.MODULE])
    return status_lines()


def uninstall() -> None:
    """Take the limits off, and restore what was there before.

    Calls under way end within the limits they began with.
    """
    policy.replace(Policy(Outbound(mode=OFF)))
    servers.detect().forget(_save)
    _patches.restore()
    _patched.clear()
    report.forget()


def _save() -> None:
    with call.guard:
        report.save()


def _loaded(client: Any, module: Any) -> None:
    if policy.current().on:
        with call.guard:
            client.patch(module, _patches)
            _patched.add(client.MODULE)


def status_lines() -> List[str]:
    """Return what is patched by now and what will be; in report mode also the call sites, the most
    frequent first.
    """
    now = [client.MODULE for client in ALL if client.MODULE in _patched]
    later = [client.MODULE for client in ALL if client.MODULE not in _patched]
    found = [f"patched: {' '.join(now)}"] if now else []
    if later:
        found.append(f"when imported: {' '.join(later)}")
    if _is_gevent():
        found.append(
            "gevent's sockets: they wait cooperatively, and try one address after the other"
        )
    return found + [str(site) for site in report.sites()[:_MOST_SITES_SHOWN]]


def _is_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))
