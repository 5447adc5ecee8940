"""Make standard error safe to write to: the descriptor first, then the streams on it."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import List, Mapping, Optional

from .. import servers
from ..component import Component, Context, Layer
from ..core.log import named
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..events import DescriptorTakenOver, emit
from ..host.descriptors import kind_of
from ..servers.base import MASTER, WORKER
from ..settings import options as settings
from ..settings.options import REPORT
from . import children
from .middleware import ErrorsMiddleware
from .standard_streams import replacements, shared, streams
from .stream import NonBlockingStream
from .takeover import REOPENED, TIMEOUT, reports_for_instance, set_stalled, take_over, taken
from .wait_policy import STALL_SECONDS

FD = 2
# servers that a log that blocks would stop. Elsewhere output is data: the rows of a management
# command, a dump
SERVERS = ("celery", "granian", "gunicorn", "uwsgi")

_logger = named("stderr")


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
        streams.configure(options)
        how = _take_over(options) + _ignore_sigpipe(what)
        how += replacements.replace()
        if self.context.server.name == "uwsgi":
            replacements.catch_wsgi_errors()
            how.append("wsgi.errors")
        if not how:
            raise Unavailable("sys.stderr has been captured: it does not write to the descriptor")
        streams.attach()
        return how

    def uninstall(self) -> None:
        """Restore the streams. A descriptor that was taken over stays so: children may have it."""
        replacements.restore()
        children.uninstall()

    def layer(self, options: settings.Stderr) -> Layer:
        """Return the layer that gives each request a `wsgi.errors` that cannot block."""
        del options
        return Layer(errors=ErrorsMiddleware)

    def verbs(self) -> Mapping[str, str]:
        """Return the verbs of the command line that belong to it."""
        return {"exec": "cli.exec", "unstick": "cli.unstick"}

    def _report(self, what: str) -> None:
        """Report what would be taken over, once for each kind (dry run)."""
        if what in ("pipe", "socket") and what not in self._reported and reports_for_instance():
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


def _ignore_sigpipe(what: str) -> List[str]:
    # a reopened pipe is open for reading as well, so it always has a reader
    has_reader = [each.fd for each in taken() if each.mechanism == REOPENED]
    if (
        what in ("pipe", "socket")
        and FD not in has_reader
        and servers.detect().configuration.ignore_sigpipe()
    ):
        return ["ignore-sigpipe (set)"]
    return []


def _check_server() -> None:
    # `resilient-wsgi exec` has replaced the streams of the server that it runs, whichever it is
    if not (server_name() in SERVERS or isinstance(sys.stderr, NonBlockingStream)):
        raise Unavailable(
            "not a process of a server: output is never dropped here "
            "(for servers other than uWSGI, gunicorn, granian, Celery: resilient-wsgi exec -- CMD)"
        )


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


def _take_over(options: settings.Stderr) -> List[str]:
    server = servers.detect()
    role = server.identity().role
    if options.take_over is False or (options.take_over is not True and server.name != "uwsgi"):
        return [str(each) for each in taken()]
    try:
        take_over(
            share=options.take_over is True, log_fds=server.name == "uwsgi" and role == MASTER
        )
    except Unavailable as reason:
        _warn(str(reason))
        return [f"not taken over: {reason}"]
    for stream in streams.all():
        stream.writer.choose()
    _follow_stalls()
    how = [str(each) for each in taken()]
    if role == WORKER and server.name == "uwsgi" and not how:
        how.append("the master may still block: use shared-import")
    return how


def _follow_stalls() -> None:
    """Shorten the send timeout of taken-over sockets while this process finds a reader stalled."""
    for each in taken():
        if each.mechanism == TIMEOUT:
            writer = shared(each.fd).writer
            if writer.when_stalled is bool:
                writer.when_stalled = partial(set_stalled, each.fd)
                # a worker that was killed during a stall could not restore the timeout; and uWSGI
                # writes much when it is reloaded
                servers.detect().hooks.start.add(partial(_check_stall, each.fd))
                _check_stall(each.fd)


def _check_stall(fd: int) -> None:
    if SYSTEM.writable(fd, STALL_SECONDS):
        set_stalled(fd, False)
    else:
        shared(fd).writer.mark_stalled()


def _warn(reason: str) -> None:
    """Report once for an instance that what uWSGI writes itself can block."""
    already = isinstance(sys.stderr, NonBlockingStream)
    if not already and servers.detect().identity().worker in (0, 1):
        _logger.warning(
            "what uWSGI itself logs (requests, the master) can block every worker: %s. Fix: "
            "RESILIENT_WSGI_STDERR_TAKE_OVER=true if no other service shares it, else "
            "disable-logging; after `uid =`, start uWSGI behind `resilient-wsgi exec --`, which "
            "opens the log before the user changes",
            reason,
        )
