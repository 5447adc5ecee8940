"""The one stream for each descriptor, so that all who write to it share the order, the spill and
the count.
"""

from __future__ import annotations

import atexit
import os
import sys
from functools import partial
from typing import Any, Dict, Optional, Tuple

from .. import servers
from ..servers.base import MASTER
from ..settings.options import Stderr
from . import attendant, children, handover as bequest, patience
from .stream import NonBlockingStream

SUPERVISORS = ("uwsgi", "gunicorn")  # whose master watches over the workers: it must not wait

_options = Stderr()
_streams: Dict[int, NonBlockingStream] = {}
_server: Optional[servers.Server] = None


def shared(fd: int) -> NonBlockingStream:
    """Return this process's stream for a descriptor, always the same; a fork inherits it.

    It is flushed at exit.
    """
    stream = _streams.get(fd)
    if stream is None:
        if not _streams:
            atexit.register(flush)
            os.register_at_fork(after_in_child=_forked)
        new = NonBlockingStream(
            fd, spill_bytes=_options.spill_bytes, keep=_options.keep, patience=_patience
        )
        new.writer.when_waiting = attendant.attend
        stream = _streams.setdefault(fd, new)
        attach()
        servers.detect().on_worker_start(partial(_inherit, stream))
    return stream


def attach() -> None:
    """Have them flushed when a worker of this server stops.

    After the exec shim the server is known later than they are.
    """
    global _server
    server = servers.detect()
    if server is not _server:
        late = _server is not None
        _server = server
        server.on_worker_stop(flush)
        for stream in streams() if late else ():
            server.on_worker_start(partial(_inherit, stream))


def configure(options: Stderr) -> None:
    """Give these options to all of them, also to those that will be made."""
    global _options
    _options = options
    for stream in _streams.values():
        stream.writer.configure(spill_bytes=options.spill_bytes, keep=options.keep)


def streams() -> Tuple[NonBlockingStream, ...]:
    """Return those that there are."""
    return tuple(_streams.values())


def flush() -> None:
    """Write what waits in each, within `FLUSH_TIMEOUT` seconds each, and leave the count of the
    rest. For the end of the process.
    """
    for fd, stream in _streams.items():
        if not stream.finish(_options.flush_timeout):
            bequest.leave(fd, stream.writer.give_up())


def _inherit(stream: NonBlockingStream) -> None:
    left = bequest.take(stream.writer.fd)
    if left.size_bytes:
        stream.writer.inherit(left)
        stream.writer.drain()
        attendant.attend(stream.writer)


def _patience() -> patience.Patience:
    """Return how long this process waits for the log's reader: called once in each."""
    # not `detect()`: behind the exec shim gunicorn's arbiter and what it forks write before there
    # is an app
    server = servers.known()
    if server is None:
        return patience.Patience()
    if server.name in SUPERVISORS and server.identity().role == MASTER:
        return patience.NoPatience()
    return patience.of_a_child() if server.forked_by_app() else patience.Patience()


def _forked() -> None:
    """See to it, in a child that the app has forked, that it loses nothing to a reader that reads,
    whatever it becomes.
    """
    server = servers.known()
    if server is None or not server.forked_by_app():
        return
    if children.take_back():
        for stream in streams():
            stream.writer.choose()
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and _streams:
        # its children end by os._exit, without atexit; the registry of what they do at their end is
        # cleared before this runs
        util.register_after_fork(
            streams()[0], lambda _: util.Finalize(None, flush, exitpriority=-100)
        )
