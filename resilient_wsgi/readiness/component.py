"""Put readiness in place in this process: from `shared-import` in uWSGI's master."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Mapping, Optional, Sequence, cast

from ..component import Component, Context, Layer
from ..errors import Unavailable
from ..settings import options as settings
from .checks import status
from .middleware import ReadinessMiddleware

if TYPE_CHECKING:
    from ..servers.uwsgi.server import UwsgiServer
    from .uwsgi_worker import Worker


class Readiness(Component[settings.Readiness]):
    """A worker without an app never answers: it exits and is started again."""

    name = "readiness"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._worker: Optional[Worker] = None

    def install(self, options: settings.Readiness) -> Sequence[str]:
        """Have workers without an app exit, or reconfigure that.

        Raises `Unavailable` where workers cannot be watched from their start.
        """
        status.options = options
        server = self.context.server
        if self._worker is not None:
            self._worker.options = options
        elif server.supervision is None:
            msg = f"only uWSGI needs it (this is {server.name}); load() works everywhere"
            raise Unavailable(msg)
        elif not server.is_first_interpreter():
            msg = (
                "only the app that is mounted first is watched. "
                "Fix: set `single-interpreter = true` to have the others watched, too"
            )
            raise Unavailable(msg)
        elif server.identity().worker:
            msg = (
                "this worker was started without it. Fix: set "
                "`shared-import = resilient_wsgi.uwsgi` in uWSGI's configuration"
            )
            raise Unavailable(msg)
        else:
            self._worker = _put(cast("UwsgiServer", server), options)
        how = () if server.supervision is None else server.supervision.status()
        return ["a worker without an app exits before it accepts", *how, *self._invisible()]

    @staticmethod
    def _invisible() -> Sequence[str]:
        board = status.board
        if board is None or not board.why_not_visible:
            return ()
        return (f"MISSING: what exec probes read ({board.why_not_visible})",)

    def uninstall(self) -> None:
        """Leave workers alone."""
        if self._worker is not None:
            self._worker.uninstall()
            self._worker = status.board = None

    def layer(self, options: settings.Readiness) -> Optional[Layer]:
        """Answer the two paths of probes, unless READINESS.PROBE_PATHS has it otherwise."""
        if not options.probe_paths:
            return None
        return Layer(gate=functools.partial(ReadinessMiddleware, options=options))

    def verbs(self) -> Mapping[str, str]:
        """Return the verbs of the command line that belong to it."""
        return {"drain": "cli.drain", "ready": "cli.ready"}


def _put(server: UwsgiServer, options: settings.Readiness) -> Worker:
    # mmap: only where it is used
    from ..shm.scoreboard import Scoreboard
    from .uwsgi_worker import Worker

    status.board = Scoreboard.of_this_instance()
    worker = Worker(server, status.board, options)
    worker.install()
    return worker


def install(options: Optional[settings.Readiness] = None) -> Sequence[str]:
    """Have workers without an app exit, or reconfigure that; return how.

    `resilient_wsgi.install()` does this with the settings; this is for those who want nothing else.
    Raises `Unavailable` where workers cannot be watched from their start.
    """
    return Readiness.here().install(settings.Readiness() if options is None else options)


def uninstall() -> None:
    """Leave workers alone."""
    Readiness.here().uninstall()
