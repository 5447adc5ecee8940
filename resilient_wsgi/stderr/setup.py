"""Make standard error of a server's process safe: the descriptor first, then its streams."""

from __future__ import annotations

import sys
from functools import partial
from typing import List

from .. import servers
from ..core.log import named
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..host.descriptors import PIPE, SOCKET
from ..servers.base import MASTER, WORKER
from ..settings.options import Stderr
from . import children, handover  # noqa: F401 - imported now, because an exiting worker may have no time to
from .standard_streams import replacements, shared, streams
from .stream import NonBlockingStream
from .takeover import REOPENED, TIMEOUT, set_stalled, take_over, taken
from .wait_policy import STALL_SECONDS

FD = 2

_logger = named("stderr")


def set_up(options: Stderr, what: str) -> List[str]:
    """Take over the descriptors and replace the streams; return how.

    `what` is the kind of standard error. Raises `Unavailable` if the stream has been captured.
    """
    streams.configure(options)
    how = _take_over(options) + _ignore_sigpipe(what)
    how += replacements.replace()
    if servers.detect().name == "uwsgi":
        replacements.catch_wsgi_errors()
        how.append("wsgi.errors")
    if not how:
        raise Unavailable("sys.stderr has been captured: it does not write to the descriptor")
    streams.attach()
    return how


def restore() -> None:
    """Restore the streams. A descriptor that was taken over stays so: children may have it."""
    replacements.restore()
    children.uninstall()


def _ignore_sigpipe(what: str) -> List[str]:
    # a reopened pipe is open for reading as well, so it always has a reader
    has_reader = any(each.fd == FD and each.mechanism == REOPENED for each in taken())
    configuration = servers.detect().configuration
    if what in (PIPE, SOCKET) and not has_reader and configuration.ignore_sigpipe():
        return ["ignore-sigpipe (set)"]
    return []


def _take_over(options: Stderr) -> List[str]:
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
            "[RW403] what uWSGI itself logs (requests, the master) can block every worker: %s. "
            "Fix: RESILIENT_WSGI_STDERR_TAKE_OVER=true if no other service shares it, else "
            "disable-logging; after `uid =`, start uWSGI behind `resilient-wsgi exec --`, which "
            "opens the log before the user changes",
            reason,
        )
