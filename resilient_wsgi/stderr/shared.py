"""The one stream for each descriptor, so that all who write to it share the order, the spill and the count."""

from __future__ import annotations

import atexit
from functools import partial
from typing import Dict, Tuple

from .. import servers
from ..settings import Stderr
from . import bequest
from .stream import NonBlockingStream

_options = Stderr()
_streams: Dict[int, NonBlockingStream] = {}


def shared(fd: int) -> NonBlockingStream:
    """Return this process's stream for a descriptor, always the same; a fork inherits it. It is flushed at exit."""
    stream = _streams.get(fd)
    if stream is None:
        if not _streams:
            atexit.register(flush)
            servers.detect().on_worker_stop(flush)
        new = NonBlockingStream(fd, spill_bytes=_options.spill_bytes, keep=_options.keep)
        stream = _streams.setdefault(fd, new)
        servers.detect().on_worker_start(partial(_inherit, stream))
    return stream


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
    """Write what waits in each, within `FLUSH_TIMEOUT` seconds each, and leave the count of the rest. For the end of the process."""
    for fd, stream in _streams.items():
        if not stream.finish(_options.flush_timeout):
            bequest.leave(fd, stream.writer.give_up())


def _inherit(stream: NonBlockingStream) -> None:
    left = bequest.take(stream.writer.fd)
    if left.size_bytes:
        stream.writer.inherit(left)
