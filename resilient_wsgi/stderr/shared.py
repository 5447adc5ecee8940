"""The one stream for each descriptor, so that all who write to it share the order, the spill and the count."""

from __future__ import annotations

from typing import Dict, Tuple

from .stream import NonBlockingStream

_streams: Dict[int, NonBlockingStream] = {}


def shared(fd: int) -> NonBlockingStream:
    """Return this process's stream for a descriptor, always the same; a fork inherits it."""
    stream = _streams.get(fd)
    if stream is None:
        stream = _streams.setdefault(fd, NonBlockingStream(fd))
    return stream


def streams() -> Tuple[NonBlockingStream, ...]:
    """Return those that there are."""
    return tuple(_streams.values())
