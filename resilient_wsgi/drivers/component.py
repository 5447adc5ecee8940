"""Put the limits on the drivers, those that are loaded and those that will be."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from ..component import Component, Context
from ..core.imports import when_imported
from ..settings import options as settings
from ..settings.options import OFF
from .clients import CLIENTS, To, UnknownVersion


class Drivers(Component[settings.Drivers]):
    """No wait of a driver outlives the request's deadline, and connecting ends everywhere."""

    name = "drivers"
    patches_pass = True  # each asks first whether there is a limit

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._options = settings.Drivers(mode=OFF)
        self._to: Optional[To] = None  # what drivers are patched with, once there is one
        self._hooked: Set[str] = set()
        self._patched: Set[str] = set()
        self._unknown: Dict[str, str] = {}

    def install(self, options: settings.Drivers) -> Sequence[str]:
        """Put the limits on each driver, or change them.

        No driver is imported: those that are not loaded yet are patched when they are.
        """
        self._configure(options)
        for module in CLIENTS:
            self._when_imported(module, self._loaded)
        if self._to is not None:  # TLS is patched with the first driver
            self._when_imported("ssl", self._tls_loaded)
        return self.status()

    def uninstall(self) -> None:
        """Take the limits off. Open connections keep their sockets, which wait as before."""
        self._configure(settings.Drivers(mode=OFF))
        super().uninstall()
        self._patched.clear()
        self._unknown.clear()

    def _configure(self, options: settings.Drivers) -> None:
        self._options = options
        if self._to is not None:
            self._to.limits.configure(options)

    def _when_imported(self, module: str, loaded: Callable[[Any], None]) -> None:
        """Call once when a module is imported: a hook cannot be taken away, so it asks whether it
        is wanted.
        """
        if module not in self._hooked:
            self._hooked.add(module)
            when_imported(module, loaded)
        elif module in sys.modules:
            loaded(sys.modules[module])

    def status(self) -> List[str]:
        """Return which drivers are limited by now, which will be, and which cannot be."""
        names = list(CLIENTS.values())
        exempt = [name for name in names if name in self._options.exempt]
        groups = {
            "limited": [n for n in names if n in self._patched and n not in exempt],
            "when imported": [
                n for n in names if n not in {*self._patched, *self._unknown, *exempt}
            ],
            "exempt": exempt,
        }
        found = [f"{what}: {' '.join(which)}" for what, which in groups.items() if which]
        found += [f"not limited: {name} ({why})" for name, why in self._unknown.items()]
        return found

    def _loaded(self, module: Any) -> None:
        name = CLIENTS[module.__name__]
        if self._options.mode == OFF or name in self._patched:
            return
        with self.context.guard:
            ours = import_module(f".clients.{name}", __package__)
            try:
                ours.patch(module, self._patched_with())
                self._patched.add(name)
            except (UnknownVersion, ImportError) as reason:
                self._unknown[name] = f"unknown version {_version(module)}: {reason}"

    def _tls_loaded(self, module: Any) -> None:
        if self._options.mode != OFF:
            with self.context.guard:
                self._patched_with().sockets.patch_tls(module, self.context.patches)

    def _patched_with(self) -> To:
        if self._to is None:
            from .limits import Limits
            from .sockets import Sockets

            limits = Limits(self.context.guard, self.context.system)
            limits.configure(self._options)
            self._to = To(limits, Sockets(limits), self.context.patches)
            self._when_imported("ssl", self._tls_loaded)
        return self._to


def _version(module: Any) -> str:
    package = sys.modules.get(module.__name__.partition(".")[0])
    return str(getattr(package, "__version__", "")) or "of it"
