"""Put every component in place, in the right order; say of each what was done; take it all away
again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
import textwrap
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Sequence, Set, Tuple

from . import readiness, servers
from .core.log import named
from .errors import ConfigurationError, Unavailable
from .settings import sources
from .settings.options import OFF, Settings
from .startup import Startup

# stderr first, so that what the others have to say cannot block; each is a module or package of
# that name
COMPONENTS = ("stderr", "threads", "outbound", "readiness", "request", "backlog")

LONGEST_REASON = 100

_logger = named("installation")


class Component(Protocol):
    """What a component's module offers."""

    def install(self, options: Any) -> Sequence[str]:
        """Put it in place, or reconfigure it; return by which means. May raise `Unavailable`."""

    def uninstall(self) -> None:
        """Restore what was there before. Does nothing if it is not installed."""


@dataclass(frozen=True)
class ComponentStatus:
    """Whether a component is on, in which mode and by which means, and if it is off, why."""

    name: str
    on: bool
    mode: str
    means: Tuple[str, ...]
    why_not: str

    def __str__(self) -> str:
        state = f"on ({self.mode})" if self.on else "off"
        return f"{self.name}: {state}; {', '.join(self.means) or self.why_not}"

    def in_short(self) -> str:
        """Return name and mode, and if it is off although it was not switched off, why."""
        if self.on or self.mode == OFF:
            return f"{self.name} {self.mode}"
        return f"{self.name} off ({_in_short(self.why_not)})"


def _in_short(text: str) -> str:
    """Return a reason that fits into a line of several: without what is in brackets, and never cut
    inside of them.
    """
    if len(text) > LONGEST_REASON:
        outside = re.sub(r"\s*\([^()]*\)", "", text)
        text = textwrap.shorten(outside, LONGEST_REASON, placeholder=" [...]")
    return text


class Installation:
    """What `install()` has put in place in this process.

    There is one; a later `install()` changes it.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self._layers: Dict[str, Optional[Mapping[str, Any]]] = {"arguments": None, "django": None}
        self._status: Dict[str, ComponentStatus] = {}
        self._startup = Startup()
        self._complained: Set[str] = set()

    def __repr__(self) -> str:
        on = " ".join(name for name, status in self._status.items() if status.on)
        return f"<Installation on {servers.detect().name}: {on or 'nothing'}>"

    def status(self) -> Tuple[ComponentStatus, ...]:
        """Return of each component whether it is on, by which means, and why not."""
        return tuple(_now(status) for status in self._status.values())

    def uninstall(self) -> None:
        """Restore everything that was there before.

        A descriptor that was taken over stays: children may have it.
        """
        global _current
        self._startup.cancel()
        for _, take in reversed(_extensions):
            take()
        for name in reversed(tuple(self._status)):
            with contextlib.suppress(ImportError):  # it was never there: `_put` has said so
                _component(name).uninstall()
        self._status = {}
        readiness.tell_probes("")
        if _current is self:
            _current = None

    def reinstall(self) -> None:
        """Put everything in place again, after `uninstall()`, with the same settings."""
        _set(self)
        self.configure(self.settings)

    def configure(self, settings: Settings, *, in_master: bool = False) -> None:
        """Install, reconfigure or take away each component, as the settings have it."""
        self.settings = settings
        for name in COMPONENTS:
            self._status[name] = self._put(name, getattr(settings, name))
        for put, _ in _extensions:
            put(settings)
        readiness.tell_probes(self._status["readiness"].why_not)
        states = [status.in_short() for status in self._status.values()]
        self._startup.prepare(states, settings, in_master=in_master)

    def read(self, **layers: Optional[Mapping[str, Any]]) -> Settings:
        """Return the settings that result when the given layers replace those that were given
        before.

        Raises `ConfigurationError` for mistakes in the arguments of `install()`: whoever writes
        them sees it at the first start. Those in the environment or in Django's settings may come
        with any deploy, and are logged.
        """
        wanted = {
            **self._layers,
            **{name: layer for name, layer in layers.items() if layer is not None},
        }
        found = sources.find(wanted["arguments"], wanted["django"])
        if found.arguments:
            raise ConfigurationError(found.mistakes())
        self._layers = wanted
        self._complain(found.mistakes())
        return found.settings

    def _complain(self, mistakes: Sequence[str]) -> None:
        """Log mistakes, each once: what the master has said no worker says again."""
        for mistake in mistakes:
            if mistake not in self._complained:
                self._complained.add(mistake)
                log_mistake(mistake)

    def _put(self, name: str, options: Any) -> ComponentStatus:
        try:
            component = _component(name)
            if options.mode == OFF:
                component.uninstall()
                return ComponentStatus(name, False, OFF, (), sources.switched_off_by(name.upper()))
            return ComponentStatus(name, True, options.mode, tuple(component.install(options)), "")
        except Unavailable as reason:
            return ComponentStatus(name, False, options.mode, (), str(reason))
        except (
            Exception
        ) as error:  # the app must start without this component rather than not at all
            _logger.exception("%s could not be installed", name)
            return ComponentStatus(
                name, False, options.mode, (), f"{type(error).__name__}: {error}"
            )


_current: Optional[Installation] = None
_extensions: List[Tuple[Callable[[Settings], None], Callable[[], None]]] = []


def install(settings: Optional[Mapping[str, Any]] = None) -> Installation:
    """Install every component that is on, and return the installation, whose `status()` says what
    was done.

    `settings` is as in the docs: `{"OUTBOUND": {"TOTAL_TIMEOUT": 20}}`. Calling it again changes
    what is different and leaves the rest. Raises `ConfigurationError` with all mistakes at once if
    `settings` has any, and then changes nothing; those in the environment or in Django's settings
    are logged, and the default is used. A component that cannot be installed is off, `status()`
    says why, and the app goes on.
    """
    return _install(arguments=settings)


def install_for_django(settings: Mapping[str, Any]) -> Installation:
    """Do the same with the dictionary of Django's settings, which arguments of `install()`
    overrule.
    """
    return _install(django=settings)


def install_in_master() -> Installation:
    """Do the same from `shared-import`, with the settings of the environment: the app's are not
    known yet.
    """
    return _install(in_master=True)


def of_environment() -> Settings:
    """Return the settings of the environment, for an app that is wrapped where nothing was
    installed; log its mistakes.
    """
    found = sources.find()
    for mistake in found.environment:
        log_mistake(mistake)
    return found.settings


def log_mistake(mistake: str) -> None:
    """Log a mistake in the settings that ends nothing."""
    _logger.error("ignored, and the default is used: %s", mistake)


def extend(put: Callable[[Settings], None], take: Callable[[], None]) -> None:
    """Have a front door's own patches come and go with the components, in this installation and in
    later ones.
    """
    if (put, take) not in _extensions:
        _extensions.append((put, take))
    if _current is not None:
        put(_current.settings)


def current() -> Optional[Installation]:
    """Return the installation of this process, None where `install()` was not called."""
    return _current


def _install(*, in_master: bool = False, **layers: Optional[Mapping[str, Any]]) -> Installation:
    installation = current() or Installation()
    settings = installation.read(**layers)
    _set(installation)
    installation.configure(settings, in_master=in_master)
    return installation


def _set(installation: Installation) -> None:
    global _current
    _current = installation
    servers.on_change(_server_changed)


def _server_changed() -> None:
    """Put everything in place again, for the server that this process turned out to belong to."""
    if _current is not None:
        _current.configure(_current.settings)


def _now(status: ComponentStatus) -> ComponentStatus:
    """Return the status with what a component that has `status_lines()` says now: more may have
    come since it was installed.
    """
    if not status.on:  # and perhaps cannot even be imported
        return status
    lines = getattr(_component(status.name), "status_lines", None)
    return dataclasses.replace(status, means=tuple(lines())) if lines else status


def _component(name: str) -> Component:
    component: Component = importlib.import_module(f".{name}", __package__)
    return component
