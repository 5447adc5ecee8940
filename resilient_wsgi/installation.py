"""Install every component that is on, in the right order; report what was done; take it all away
again.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from . import servers
from .component import Component, Layer
from .core.bounded_lock import Turns
from .core.log import named
from .core.record import Record
from .errors import ConfigurationError, Unavailable
from .settings import sources
from .settings.options import OFF, Settings
from .startup import Startup

# The only registry, in the order of installation: stderr first, so that what the others log cannot
# block. A component is imported when it is on, and never where it is off; the name of its class, in
# lower case, is the component's.
COMPONENTS: Tuple[str, ...] = (
    "stderr.component:Stderr",
    "threads.component:Threads",
    "outbound.component:Outbound",
    "drivers.component:Drivers",
    "overload.component:Overload",  # its gate counts each request, so it comes first
    "readiness.component:Readiness",
    "request.component:Request",
    "bulkhead.component:Bulkhead",
    "backlog:Backlog",
)

LONGEST_REASON = 100

_logger = named("installation")


class ComponentStatus(Record):
    """Whether a component is on, in which mode and how, and if it is off, why."""

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
    """Return a reason that fits into a line of several: without what is in brackets."""
    if len(text) > LONGEST_REASON:
        import textwrap

        outside = re.sub(r"\s*\([^()]*\)", "", text)
        text = textwrap.shorten(outside, LONGEST_REASON, placeholder=" [...]")
    return text


class Installation:
    """What `install()` has put in place in this process.

    There is one; a later `install()` changes it.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self._sources: Dict[str, Optional[Mapping[str, Any]]] = {"arguments": None, "django": None}
        self._status: Dict[str, ComponentStatus] = {}
        self._startup = Startup()
        self._complained: Set[str] = set()

    def __repr__(self) -> str:
        on = " ".join(name for name, status in self._status.items() if status.on)
        return f"<Installation on {servers.detect().name}: {on or 'nothing'}>"

    def status(self) -> Tuple[ComponentStatus, ...]:
        """Return of each component whether it is on, how it works, and if it is off, why."""
        return tuple(_now(status) for status in self._status.values())

    def uninstall(self) -> None:
        """Restore everything that was there before.

        A descriptor that was taken over stays: children may have it.
        """
        with _turns:
            self._startup.cancel()
            for component in (*reversed(list(_loaded())), *reversed(_process.front_doors)):
                component.uninstall()
            self._status = {}
            _tell_probes("")
            if _process.installation is self:
                _process.installation = None

    def reinstall(self) -> None:
        """Put everything in place again, after `uninstall()`, with the same settings."""
        with _turns:
            _set(self)
            self.configure(self.settings)

    def configure(self, settings: Settings, *, in_master: bool = False) -> None:
        """Install, reconfigure or take away each component, as the settings have it."""
        self.settings = settings
        for front_door in _process.front_doors:
            _open(front_door, settings)
        for name, path in _paths().items():
            self._status[name] = self._put(name, path, getattr(settings, name))
        _tell_probes(self._status["readiness"].why_not)
        states = [status.in_short() for status in self._status.values()]
        self._startup.prepare(states, settings, in_master=in_master)

    def read(self, **given: Optional[Mapping[str, Any]]) -> Settings:
        """Return the settings that result when the given sources replace those that were given
        before.

        Raises `ConfigurationError` for mistakes in the arguments of `install()`: their author
        sees them at the first start. Those in the environment or in Django's settings may come
        with any deploy, and are logged.
        """
        wanted = {
            **self._sources,
            **{name: source for name, source in given.items() if source is not None},
        }
        found = sources.find(wanted["arguments"], wanted["django"])
        if found.arguments:
            raise ConfigurationError(found.mistakes())
        self._sources = wanted
        self._complain(found.mistakes())
        return found.settings

    def _complain(self, mistakes: Sequence[str]) -> None:
        """Log mistakes, each once: what the master has logged no worker logs again."""
        for mistake in mistakes:
            if mistake not in self._complained:
                self._complained.add(mistake)
                log_mistake(mistake)

    def _put(self, name: str, path: str, options: Any) -> ComponentStatus:
        try:
            if options.mode == OFF:
                if _is_imported(path):
                    _component(path).uninstall()
                return ComponentStatus(name, False, OFF, (), sources.switched_off_by(name.upper()))
            component = _component(path)
            component.settings = self.settings
            how = tuple(component.install(options))
            return ComponentStatus(name, True, options.mode, how, "")
        except Unavailable as reason:
            return ComponentStatus(name, False, options.mode, (), str(reason))
        except Exception as error:  # the app must start without it rather than not at all
            _logger.exception("[RW004] %s could not be installed", name)
            why_not = f"{type(error).__name__}: {error}"
            return ComponentStatus(name, False, options.mode, (), why_not)


class _Process:
    """What is installed in this process: a fork inherits it."""

    installation: Optional[Installation] = None

    def __init__(self) -> None:
        self.front_doors: List[Component[Settings]] = []


_process = _Process()
_turns = Turns()  # requests, too, may install, and several at once


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


def install_for_django(
    settings: Mapping[str, Any], front_door: Optional[Component[Settings]] = None
) -> Installation:
    """Install with the dictionary of Django's settings, which arguments of `install()` overrule.

    `front_door` is what takes part in each installation from now on, before the components: it is
    installed with all settings, and has neither a section nor a status of its own.
    """
    if front_door is not None and front_door not in _process.front_doors:
        _process.front_doors.append(front_door)
    return _install(django=settings)


def install_in_master() -> Installation:
    """Install from `shared-import`, with the settings of the environment: the app's are not known
    yet.
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
    _logger.error("[RW003] ignored, and the default is used: %s", mistake)


def current() -> Optional[Installation]:
    """Return the installation of this process, None where `install()` was not called."""
    return _process.installation


def layers(settings: Settings) -> Iterator[Layer]:
    """Yield what the components that are on put around an app, in the order of installation.

    One that fails is logged and left out.
    """
    for name, path in _paths().items():
        options = getattr(settings, name)
        if not options.in_apps(settings):
            continue
        try:
            component = _component(path)
            component.settings = settings
            layer = component.layer(options)
        except Exception:  # the app must start without it rather than not at all
            _logger.exception("[RW005] %s could not be put around an app", name)
            continue
        if layer is not None:
            yield layer


def verbs() -> Dict[str, str]:
    """Return the verbs of the command line that components have, each with its module."""
    found: Dict[str, str] = {}
    for path in COMPONENTS:
        with contextlib.suppress(ImportError):
            found.update(_component(path).verbs())
    return found


def _install(*, in_master: bool = False, **given: Optional[Mapping[str, Any]]) -> Installation:
    with _turns:
        installation = current() or Installation()
        settings = installation.read(**given)
        _set(installation)
        installation.configure(settings, in_master=in_master)
        return installation


def _set(installation: Installation) -> None:
    _process.installation = installation
    servers.on_change(_server_changed)


def _server_changed() -> None:
    """Put everything in place again, for the server that this process turned out to belong to."""
    installation = current()
    if installation is not None:
        installation.configure(installation.settings)


def _open(front_door: Component[Settings], settings: Settings) -> None:
    try:
        front_door.install(settings)
    except Exception:  # the app must start
        _logger.exception("[RW004] %r could not be installed", front_door)


def _now(status: ComponentStatus) -> ComponentStatus:
    """Return the status with what the component says now: more may have come since it was
    installed.
    """
    if not status.on:  # and perhaps cannot even be imported
        return status
    lines = _component(_paths()[status.name]).status()
    return status._replace(means=tuple(lines)) if lines else status


def _tell_probes(why_not: str) -> None:
    """Note in the scoreboard why readiness is off in this instance, "" if it is on.

    Without that an exec probe could not tell such an instance from one without the library, and
    Kubernetes would end every pod because of a switch that is there to calm things down.
    """
    server = servers.detect()
    if server.name == "uwsgi" and not server.identity().worker and server.is_first_interpreter():
        from .shm.scoreboard import Scoreboard

        Scoreboard.of_this_instance().header.off_reason = why_not


def _paths() -> Dict[str, str]:
    """Return where each component is, by its name."""
    return {path.rpartition(":")[2].lower(): path for path in COMPONENTS}


def _component(path: str) -> Component[Any]:
    module, _, name = path.rpartition(":")
    kind = getattr(importlib.import_module(f".{module}", __package__), name)
    component: Component[Any] = kind.here()
    return component


def _is_imported(path: str) -> bool:
    return f"{__package__}.{path.rpartition(':')[0]}" in sys.modules


def _loaded() -> Iterator[Component[Any]]:
    """Yield the components that may be installed."""
    for path in COMPONENTS:
        if _is_imported(path):
            with contextlib.suppress(ImportError, AttributeError):  # `_put` has logged it
                yield _component(path)
