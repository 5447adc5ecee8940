"""Make standard error safe to write to: the descriptor first, then the streams on it."""

from __future__ import annotations

import os
import sys
from typing import Any, List, Mapping, Optional

from .. import servers
from ..component import Component, Context, Layer
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..host.descriptors import kind_of
from ..settings import options as settings
from ..settings.options import REPORT

FD = 2
# servers that a log that blocks would stop. Elsewhere output is data: the rows of a management
# command, a dump
SERVERS = ("celery", "granian", "gunicorn", "uwsgi")


class Stderr(Component[settings.Stderr]):
    """Waits for the log reader: no write to standard error blocks, and lost lines are counted."""

    name = "stderr"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # kinds that a dry run has reported, here or in the master that this process was forked from
        self._reported: List[str] = []

    def install(self, options: settings.Stderr) -> List[str]:
        """Make standard error safe to write to in a process of a server; return how.

        Takes the descriptors over in uWSGI, or if `TAKE_OVER` is on. Replaces `sys.stderr`, and
        `sys.stdout` if it writes to the same pipe; objects that hold the old streams then write to
        the new ones. Raises `Unavailable` in a process that belongs to no server, on a terminal
        (its user may pause it), if the descriptor is closed, and if the app or a test has captured
        the stream.
        """
        what = _kind()
        _check_server()
        if options.mode == REPORT:
            self._report(what)
            return [f"report only: descriptor {FD} is a {what}"]
        from . import setup  # no other process needs it

        return setup.set_up(options, what)

    def uninstall(self) -> None:
        """Restore the streams. A descriptor that was taken over stays so: children may have it."""
        from . import setup

        setup.restore()

    def layer(self, options: settings.Stderr) -> Layer:
        """Return the layer that gives each request a `wsgi.errors` that cannot block."""
        del options
        from .middleware import ErrorsMiddleware

        return Layer(errors=ErrorsMiddleware)

    def verbs(self) -> Mapping[str, str]:
        """Return the verbs of the command line that belong to it."""
        return {"exec": "cli.exec", "unstick": "cli.unstick"}

    def _report(self, what: str) -> None:
        """Report what would be taken over, once for each kind (dry run)."""
        from .takeover import reports_for_instance

        if what in ("pipe", "socket") and what not in self._reported and reports_for_instance():
            from ..events import DescriptorTakenOver, emit

            self._reported.append(what)
            emit(DescriptorTakenOver(FD, "socket" if what == "socket" else "pipe", dry_run=True))


def install(options: Optional[settings.Stderr] = None) -> List[str]:
    """Make standard error safe to write to in a process of a server; return how.

    `resilient_wsgi.install()` does this with the settings; call this to install nothing else.
    Calling it again applies changed options. Raises `Unavailable` if it cannot be installed here.
    """
    return Stderr.here().install(settings.Stderr() if options is None else options)


def uninstall() -> None:
    """Restore the streams. A descriptor that was taken over stays so: children may have it."""
    Stderr.here().uninstall()


def _check_server() -> None:
    if not (server_name() in SERVERS or _is_replaced()):
        raise Unavailable(
            "not a process of a server: output is never dropped here "
            "(for servers other than uWSGI, gunicorn, granian, Celery: resilient-wsgi exec -- CMD)"
        )


def _is_replaced() -> bool:
    """Return whether `resilient-wsgi exec` has replaced the streams of the server that it runs."""
    stream: Any = sys.modules.get(f"{__package__}.stream")  # without it, nothing is replaced
    return stream is not None and isinstance(sys.stderr, stream.NonBlockingStream)


def server_name() -> str:
    """Return which server this is a process of, `plain` for none."""
    name = servers.detect().name
    granian = "granian" in sys.modules and os.path.basename(sys.argv[0] or "") == "granian"
    return "granian" if name == "plain" and granian else name


def _kind() -> str:
    try:
        what = kind_of(FD, SYSTEM)
    except OSError:
        raise Unavailable("standard error is closed") from None
    if what == "terminal":
        raise Unavailable("standard error is a terminal")
    return what
