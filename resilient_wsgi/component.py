"""What a component is: one class, registered with one line in `installation.COMPONENTS`.

docs/design.md describes how to add one.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    Generic,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Type,
    TypeVar,
    cast,
)

from . import servers
from .core.guard import Guard
from .core.patching import Patches
from .core.system import SYSTEM, PerProcess, System
from .settings.section import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from .core.middleware import Gate
    from .events.announcer import Announcer
    from .servers import Server

Options = TypeVar("Options")
C = TypeVar("C", bound="Component[Any]")


class ErrorStreams(Protocol):
    """Puts a stream that cannot block into `environ["wsgi.errors"]`."""

    elsewhere: Any  # the type of stream that was last found to lead elsewhere
    writer: Any

    def put(self, environ: WSGIEnvironment) -> None:
        """Put the stream in place for one request."""

    def drain(self) -> None:
        """Write what waits in it."""


class Layer:
    """What `wrap()` puts around each app for one component; each part is made for an app.

    A gate looks at a request first and may answer it itself: see `core.middleware.Gate`. `around`
    returns the app in a middleware that each request passes through.
    """

    __slots__ = ("around", "errors", "gate")

    def __init__(
        self,
        *,
        gate: Optional[Callable[[WSGIApplication], Gate]] = None,
        around: Optional[Callable[[WSGIApplication], WSGIApplication]] = None,
        errors: Optional[Callable[[WSGIApplication], ErrorStreams]] = None,
    ) -> None:
        self.gate = gate
        self.around = around
        self.errors = errors


class Context:
    """What a component works with. Tests give it another server or system."""

    def __init__(
        self,
        name: str,
        *,
        server: Optional[Server] = None,
        system: System = SYSTEM,
        patches: Optional[Patches] = None,
    ) -> None:
        self._server = server
        self._announcers = PerProcess(_announcer)
        self.system = system
        self.guard = Guard(name, system)
        self.patches = Patches() if patches is None else patches

    @property
    def server(self) -> Server:
        """Return the server of this process, which may turn out late to be one."""
        return servers.detect() if self._server is None else self._server

    @property
    def announce(self) -> Announcer:
        """Return what emits events from a thread of its own, so that the caller never waits."""
        return self._announcers.get()


def _announcer() -> Announcer:
    from .events.announcer import Announcer

    return Announcer()


class Component(Generic[Options]):
    """One capability, which can be installed, reconfigured and taken away again.

    `name` is that of its section of the settings, its logger and its line in `status()`.
    """

    name: ClassVar[str]
    # whether its patches pass calls through by themselves while it is off: see `Patches`
    patches_pass: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context
        # of all sections, for what depends on another one; set before `install` and `layer`
        self.settings = Settings()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.context.server.name}>"

    @classmethod
    def here(cls: Type[C]) -> C:
        """Return the component of this process, always the same; a fork inherits it."""
        found = _here.get(cls)
        if found is None:
            context = Context(cls.name, patches=Patches(passing=cls.patches_pass))
            found = _here.setdefault(cls, cls(context))
        return cast("C", found)

    def install(self, options: Options) -> Sequence[str]:
        """Put it in place, or reconfigure it, and return how, in words for `status()`.

        Called again, it changes what is different. Raises `Unavailable` with the reason where it
        cannot work in this process.
        """
        raise NotImplementedError

    def uninstall(self) -> None:
        """Restore what was there before. Does nothing if it is not installed."""
        self.context.patches.restore()

    def layer(self, options: Options) -> Optional[Layer]:
        """Return what `wrap()` puts around apps, None for nothing. Called for each app."""
        del options
        return None

    def status(self) -> Sequence[str]:
        """Return how it works by now, if that may differ from what `install` returned."""
        return ()

    def verbs(self) -> Mapping[str, str]:
        """Return the verbs of the command line that belong to it, each with its module."""
        return {}


_here: Dict[type, Component[Any]] = {}
