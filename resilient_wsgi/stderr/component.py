"""Make standard error safe to write to: the descriptor first, then the streams on it."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import List, Optional

from .. import servers
from ..component import Component, Context, Layer
from ..core.log import named
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..events import DescriptorTakenOver, emit
from ..host.descriptors import kind_of
from ..servers.base import MASTER, WORKER
from ..settings import options as settings
from ..settings.options import OFF, ON, REPORT
from . import children, standard_streams
from .middleware import ErrorsMiddleware
from .patience import STALL_SECONDS
from .shared import attach, configure, shared, streams
from .stream import NonBlockingStream
from .takeover import BOUNDED, REOPENED, bound_sends, speaks, take_over, taken

FD = 2
# those whose service a log that blocks would stop. Elsewhere output is data: a management command's
# rows, a dump
SERVERS = ("celery", "granian", "gunicorn", "uwsgi")

_logger = named("stderr")


class Stderr(Component[settings.Stderr]):
    """Nothing that is written to standard error can block, and what is lost is known."""

    name = "stderr"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # in a dry run: what was reported, here or in the master that this was forked from
        self._reported: List[str] = []

    def install(self, options: settings.Stderr) -> List[str]:
        """Make standard error safe to write to in a process of a server.

        Takes the descriptors over in uWSGI, or where `TAKE_OVER` is on; replaces `sys.stderr`, and
        `sys.stdout` if it leads to the same pipe, and makes who holds the old ones write to ours.
        Raises `Unavailable` where there is nothing to do: in a process that is no server's; on a
        terminal, at which somebody sits who may stop it; where the descriptor is closed; where the
        app or a test has captured the stream.
        """
        what = _kind()
        _check_server()
        if options.mode == REPORT:
            self._report(what)
            return [f"report only: descriptor {FD} is a {what}"]
        configure(options)
        how = _take_over(options) + _ignore_sigpipe(what)
        how += standard_streams.replace_standard_streams()
        if self.context.server.name == "uwsgi":
            standard_streams.catch_wsgi_errors()
            how.append("wsgi.errors")
        if not how:
            raise Unavailable(
                "sys.stderr does not write to the descriptor: somebody has captured it"
            )
        attach()
        return how

    def uninstall(self) -> None:
        """Put back the streams. A descriptor that was taken over stays so: children may have it."""
        standard_streams.release_wsgi_errors()
        standard_streams.restore_standard_streams()
        children.uninstall()

    def layer(self, options: settings.Stderr) -> Layer:
        """Give each request a `wsgi.errors` that cannot block."""
        del options
        return Layer(errors=ErrorsMiddleware)

    def _report(self, what: str) -> None:
        """Report once, in a dry run, what would be taken over."""
        if what in ("pipe", "socket") and what not in self._reported and speaks():
            self._reported.append(what)
            emit(DescriptorTakenOver(FD, "socket" if what == "socket" else "pipe", dry_run=True))


def install(options: Optional[settings.Stderr] = None) -> List[str]:
    """Make standard error safe to write to in a process of a server; return how.

    `resilient_wsgi.install()` does this with the settings; this is for those who want nothing else.
    Calling it again changes what is different. Raises `Unavailable` where there is nothing to do.
    """
    return Stderr.here().install(settings.Stderr() if options is None else options)


def uninstall() -> None:
    """Put back the streams. A descriptor that was taken over stays so: children may have it."""
    Stderr.here().uninstall()


def _ignore_sigpipe(what: str) -> List[str]:
    # what was opened anew is open for reading as well, so that it always has a reader
    has_reader = [each.fd for each in taken() if each.means == REOPENED]
    if what in ("pipe", "socket") and FD not in has_reader and servers.detect().ignore_sigpipe():
        return ["ignore-sigpipe (set)"]
    return []


def _check_server() -> None:
    # the exec shim has replaced the streams of what it runs: that is a server, whichever it is
    if not (server_name() in SERVERS or isinstance(sys.stderr, NonBlockingStream)):
        raise Unavailable(
            "no process of a server: output is never dropped here "
            "(for another server than uWSGI, gunicorn, granian or Celery: resilient-wsgi exec -- COMMAND)"
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
    if options.take_over == OFF or (options.take_over != ON and server.name != "uwsgi"):
        return [str(each) for each in taken()]
    try:
        take_over(share=options.take_over == ON, log_fds=server.name == "uwsgi" and role == MASTER)
    except Unavailable as reason:
        _warn(str(reason))
        return [f"not taken over: {reason}"]
    for stream in streams():
        stream.writer.choose()
    bound_sockets()
    means = [str(each) for each in taken()]
    if role == WORKER and server.name == "uwsgi" and not means:
        means.append("the master may still block: use shared-import")
    return means


def bound_sockets() -> None:
    """Have writes of C code to a socket wait no longer while this process finds its reader stalled."""
    for each in taken():
        if each.means == BOUNDED:
            writer = shared(each.fd).writer
            if writer.when_stalled is bool:
                writer.when_stalled = partial(_when_stalled, each.fd)
                # one that was killed meanwhile cannot have taken it back; and uWSGI writes much
                # when it is reloaded
                servers.detect().on_worker_start(partial(_look_for_room, each.fd))
                _look_for_room(each.fd)


def _when_stalled(fd: int, stalled: bool) -> None:
    with contextlib.suppress(OSError):
        bound_sends(fd, stalled=stalled)


def _look_for_room(fd: int) -> None:
    if SYSTEM.writable(fd, STALL_SECONDS):
        _when_stalled(fd, False)
    else:
        shared(fd).writer.find_stalled()


def _warn(reason: str) -> None:
    """Report once for an instance that what uWSGI writes itself can block."""
    already = isinstance(sys.stderr, NonBlockingStream)
    if not already and servers.detect().identity().worker in (0, 1):
        _logger.warning(
            "what uWSGI itself logs (requests, the master) can block every worker: %s. Fix: "
            "RESILIENT_WSGI_STDERR_TAKE_OVER=on if no other service shares it, else disable-logging; after `uid =`, start uWSGI "
            "behind `resilient-wsgi exec --`, which opens the log before the user changes",
            reason,
        )
