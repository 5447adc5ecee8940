"""Put the limits on the HTTP clients, those that are loaded and those that will be."""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from ..component import Component, Context
from ..core.imports import when_imported
from ..errors import Unavailable
from ..settings import options as settings
from ..settings.options import OFF
from . import policy
from .patches import CLIENTS
from .policy import Policy, guard

_MOST_SITES_SHOWN = 50


class Outbound(Component[settings.Outbound]):
    """No outbound HTTP call outlives its limits, whatever the other side does."""

    name = "outbound"
    patches_pass = True  # no policy, no exchange: each asks for one of the two first

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._hooked: Set[str] = set()
        self._patched: Set[str] = set()
        self._notes: Dict[str, str] = {}  # what of a client is not limited, and why

    def install(self, options: settings.Outbound) -> Sequence[str]:
        """Put the limits on the HTTP clients of `patches.CLIENTS`, or change them.

        No client is imported: those that are not loaded yet are patched when they are. Calls that
        are under way keep the limits they began with.
        """
        wanted = Policy(options)
        if wanted.notes_calls:  # not first in the midst of a call
            from . import dry_run, report  # noqa: F401
        policy.replace(wanted)
        self.context.server.hooks.forget(_save)
        self.context.server.hooks.stop.add(_save)
        for client in CLIENTS:
            if client not in self._hooked:
                # a hook cannot be taken away, so it is set once and asks whether it is wanted
                self._hooked.add(client)
                when_imported(client, functools.partial(self._loaded, client))
            elif client in sys.modules:
                self._loaded(client, sys.modules[client])
        return self.status()

    def uninstall(self) -> None:
        """Take the limits off, and restore what was there before.

        Calls under way end within the limits they began with.
        """
        policy.replace(Policy(settings.Outbound(mode=OFF)))
        self.context.server.hooks.forget(_save)
        super().uninstall()
        self._patched.clear()
        report = _report()
        if report is not None:
            report.forget()

    def status(self) -> List[str]:
        """Return what is patched by now and what will be; in report mode also the call sites, the
        most frequent first.
        """
        now = [client for client in CLIENTS if client in self._patched]
        known = {*self._patched, *self._notes}
        later = [client for client in CLIENTS if client not in known]
        found = [f"patched: {' '.join(now)}"] if now else []
        if later:
            found.append(f"when imported: {' '.join(later)}")
        found += [note for note in self._notes.values() if note]
        if _is_gevent():
            found.append(
                "gevent's sockets: they wait cooperatively, and try one address after the other"
            )
        report = _report()
        sites = [] if report is None else report.sites()
        return found + [str(site) for site in sites[:_MOST_SITES_SHOWN]]

    def verbs(self) -> Mapping[str, str]:
        """Return the verbs of the command line that belong to it."""
        return {"report": "cli.report"}

    def _loaded(self, client: str, module: Any) -> None:
        # httpx2.alias_httpx() has httpx2 be known as httpx, too
        if policy.current().on and module.__name__ == client:
            self._notes[client] = f"not limited: {client}: patching it has failed, see the log"
            with self.context.guard:
                try:
                    notes = [self._patch(name, module) for name in CLIENTS[client]]
                except Unavailable as error:
                    self._notes[client] = f"not limited: {error}"
                else:
                    self._notes[client] = "".join(
                        f"limited in part: {note}" for note in notes if note
                    )
                    self._patched.add(client)

    def _patch(self, name: str, module: Any) -> Optional[str]:
        ours = import_module(f".patches.{name}", __package__)
        note: Optional[str] = ours.patch(module, self.context.patches)
        return note


def install(options: Optional[settings.Outbound] = None) -> Sequence[str]:
    """Put the limits on the HTTP clients, or change them; return which are patched.

    `resilient_wsgi.install()` does this with the settings; this is for those who want nothing else.
    """
    return Outbound.here().install(settings.Outbound() if options is None else options)


def uninstall() -> None:
    """Take the limits off, and restore what was there before.

    Calls under way end within the limits they began with.
    """
    Outbound.here().uninstall()


def status_lines() -> List[str]:
    """Return which clients are patched by now and which will be when they are imported."""
    return Outbound.here().status()


def _report() -> Any:
    """Return the module that counts call sites, None if none was counted yet."""
    return sys.modules.get(f"{__package__}.report")


def _save() -> None:
    report = _report()
    if report is not None:
        with guard:
            report.save()


def _is_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))
