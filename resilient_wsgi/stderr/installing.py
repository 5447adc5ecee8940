"""Installing the component: the descriptor first, then the streams on it."""

from __future__ import annotations

import atexit
from typing import List, Optional

from .. import servers
from ..errors import Unavailable
from ..events import DescriptorTakenOver, emit
from ..servers.base import MASTER, WORKER
from ..settings import OFF, ON, REPORT, Stderr
from . import children, placing
from .descriptor import STANDARD, take_over, taken
from .kernel import KERNEL
from .means import kind
from .shared import shared, streams

FD = 2
_flush_timeout = 0.0
_registered = False


def install(options: Optional[Stderr] = None) -> List[str]:
    """Make standard error safe to write to; return by which means. Calling it again changes what is different.

    Replaces `sys.stderr`, and `sys.stdout` if it is the same pipe, and makes who holds the old ones write to ours; takes the
    descriptors over in uWSGI, or where `TAKE_OVER` is on. Raises `Unavailable` where there is nothing to do: a terminal,
    at which somebody sits who may stop it, or a descriptor that is closed.
    """
    options = Stderr() if options is None else options
    what = _kind()
    if options.mode == REPORT:
        emit(DescriptorTakenOver(FD, what, "not done, mode is report"))
        return [f"report only: descriptor {FD} is a {what}"]
    means = _take_over(options)
    shared(FD)
    for stream in streams():
        stream.writer.configure(spill_bytes=options.spill_bytes, keep=options.keep)
    means += [f"{name} = {shared(FD)!r}" for name in placing.replace_standard_streams()]
    if servers.detect().name == "uwsgi":
        placing.catch_wsgi_errors()
        means.append("wsgi.errors")
    _flush_at_exit(options.flush_timeout)
    return means


def uninstall() -> None:
    """Put back the streams. A descriptor that was taken over stays so: children may have it."""
    global _registered
    placing.release_wsgi_errors()
    placing.restore_standard_streams()
    children.uninstall()
    if _registered:
        atexit.unregister(_flush)
        servers.detect().forget(_flush)
        _registered = False


def _kind() -> str:
    try:
        what = kind(FD, KERNEL)
    except OSError:
        raise Unavailable("standard error is closed") from None
    if what == "terminal":
        raise Unavailable("standard error is a terminal")
    return what


def _take_over(options: Stderr) -> List[str]:
    server = servers.detect()
    role = server.identity().role
    wanted = options.take_over == ON or (
        options.take_over != OFF and server.name == "uwsgi" and role in (MASTER, WORKER)
    )
    if wanted:
        try:
            take_over(share=options.take_over == ON, log_fds=server.name == "uwsgi" and role == MASTER)
        except Unavailable as reason:
            return [f"not taken over: {reason}"]
        for stream in streams():
            stream.writer.choose()
    means = [str(each) for each in taken()]
    if wanted and role == WORKER and not any(each.fd in STANDARD for each in taken()):
        means.append("the master may still block: use shared-import")
    return means


def _flush_at_exit(seconds: float) -> None:
    global _registered, _flush_timeout
    _flush_timeout = seconds
    if not _registered:
        atexit.register(_flush)
        servers.detect().on_worker_stop(_flush)
        _registered = True


def _flush() -> None:
    for stream in streams():
        stream.drain(_flush_timeout)
