"""Installing the component: the descriptor first, then the streams on it."""

from __future__ import annotations

from typing import List, Optional

from .. import servers
from ..errors import Unavailable
from ..events import DescriptorTakenOver, emit
from ..servers.base import MASTER, WORKER
from ..settings import OFF, ON, REPORT, Stderr
from ..system import SYSTEM
from . import children, placing
from .descriptor import REOPENED, take_over, taken
from .means import kind
from .shared import configure, streams

FD = 2


def install(options: Optional[Stderr] = None) -> List[str]:
    """Make standard error safe to write to; return by which means. Calling it again changes what is different.

    Takes the descriptors over in uWSGI, or where `TAKE_OVER` is on; replaces `sys.stderr`, and `sys.stdout` if it is the
    same pipe, and makes who holds the old ones write to ours. Raises `Unavailable` where there is nothing to do: a
    terminal, at which somebody sits who may stop it; a descriptor that is closed; a stream that somebody has captured.
    """
    options = Stderr() if options is None else options
    what = _kind()
    if options.mode == REPORT:
        emit(DescriptorTakenOver(FD, what, "not done, mode is report"))
        return [f"report only: descriptor {FD} is a {what}"]
    configure(options)
    means = _take_over(options) + _ignore_sigpipe(what) + placing.replace_standard_streams()
    if servers.detect().name == "uwsgi":
        placing.catch_wsgi_errors()
        means.append("wsgi.errors")
    if not means:
        raise Unavailable("sys.stderr does not write to the descriptor: somebody has captured it")
    return means


def uninstall() -> None:
    """Put back the streams. A descriptor that was taken over stays so: children may have it."""
    placing.release_wsgi_errors()
    placing.restore_standard_streams()
    children.uninstall()


def _ignore_sigpipe(what: str) -> List[str]:
    # what was opened anew is open for reading as well, so that it always has a reader
    has_reader = [each.fd for each in taken() if each.means == REOPENED]
    if what in ("pipe", "socket") and FD not in has_reader and servers.detect().ignore_sigpipe():
        return ["ignore-sigpipe (set)"]
    return []


def _kind() -> str:
    try:
        what = kind(FD, SYSTEM)
    except OSError:
        raise Unavailable("standard error is closed") from None
    if what == "terminal":
        raise Unavailable("standard error is a terminal")
    return what


def _take_over(options: Stderr) -> List[str]:
    server = servers.detect()
    role = server.identity().role
    if options.take_over == OFF or (options.take_over != ON and server.name != "uwsgi"):
        return [str(each) for each in taken()]
    try:
        take_over(share=options.take_over == ON, log_fds=server.name == "uwsgi" and role == MASTER)
    except Unavailable as reason:
        return [f"not taken over: {reason}"]
    for stream in streams():
        stream.writer.choose()
    means = [str(each) for each in taken()]
    if role == WORKER and server.name == "uwsgi" and not means:
        means.append("the master may still block: use shared-import")
    return means
