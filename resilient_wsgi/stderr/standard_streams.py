"""Put the streams in the place of `sys.stderr`, `sys.stdout` and uWSGI's `wsgi.errors`, and take
them away again.
"""

from __future__ import annotations

import _io
import contextlib
import io
import os
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..core.patching import Patches
from ..core.system import SYSTEM
from ..host.descriptors import kind_of
from .shared import shared
from .stream import NonBlockingStream

# what stood at sys.stderr and the others before
_before: Dict[str, Any] = {}
# text streams that were made to write to ours, with the arguments that make them as they were
_repointed: List[Tuple[io.TextIOWrapper, int, Dict[str, Any]]] = []
_patches = Patches()


def replace_standard_streams(*, both: bool = False) -> List[str]:
    """Replace `sys.stderr`, and `sys.stdout` if it leads to the same pipe; return what is ours now.

    Also replaced is `sys.stdout` on a descriptor that does not block, where Python's own would
    raise `BlockingIOError`; with `both`, in any case. Left alone is what is not a stream on the
    descriptor itself: the app or a test has captured it.
    """
    replaced = []
    for name in ("stderr", "stdout"):
        current = getattr(sys, name)
        if not isinstance(current, NonBlockingStream):
            fd = _descriptor(current)
            if fd is None or not (both or _same_file(fd, 2) or _raises_when_full(fd)):
                continue
            _before[name] = current
            setattr(sys, name, shared(fd))
            _repoint(current, fd)
            _repoint(getattr(sys, f"__{name}__"), fd)
        replaced.append(f"sys.{name} = {getattr(sys, name)!r}")
    return replaced


def restore_standard_streams() -> None:
    """Put back what stood there, unless somebody has put something else there since."""
    for stream, fd, arguments in _repointed:
        stream.detach()
        stream.__init__(io.BufferedWriter(io.FileIO(fd, "w", closefd=False)), **arguments)  # type: ignore[misc]
    _repointed.clear()
    for name, stream in _before.items():
        if isinstance(getattr(sys, name), NonBlockingStream):
            setattr(sys, name, stream)
    _before.clear()


def _descriptor(stream: Any) -> Optional[int]:
    try:
        fd = stream.fileno()
    except Exception:  # None, closed, or something of somebody's that has no descriptor
        return None
    return fd if fd in (1, 2) else None


def _same_file(fd: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(other))
    except OSError:
        return False


def _raises_when_full(fd: int) -> bool:
    try:
        return not os.get_blocking(fd) and kind_of(fd, SYSTEM) in ("pipe", "socket")
    except OSError:
        return False


def _repoint(stream: Any, fd: int) -> None:
    """Make a stream that others hold (handlers of `logging`, bound methods) write to ours, in its
    place.

    The object cannot be exchanged where it is held, but it can be initialised again. That needs
    none of the locks in which threads may be stuck with it.
    """
    if type(stream) is not io.TextIOWrapper or any(stream is known for known, _, _ in _repointed):
        return
    arguments = {
        "encoding": stream.encoding,
        "errors": stream.errors,
        "line_buffering": stream.line_buffering,
    }
    with contextlib.suppress(OSError):  # what it still held may find no room
        stream.detach()
    ours = shared(fd).buffer
    stream.__init__(ours, "utf-8", "backslashreplace", write_through=True)  # type: ignore[misc]
    _repointed.append((stream, fd, arguments))


def catch_wsgi_errors() -> None:
    """Have uWSGI take our stream for its `wsgi.errors` when it loads an app.

    It makes one object for each app by `PyFile_FromFd(2, "w")` after the app is loaded
    (plugins/python/pyloader.c), which nobody can reach before the first request. That function
    looks up `_io.open`, which hardly anybody else does: `open` and `io.open` are names of their
    own.
    """
    _patches.wrap(_io, "open", _open_unless_wsgi_errors)


def _open_unless_wsgi_errors(original: Callable[..., Any]) -> Callable[..., Any]:
    def open_unless_wsgi_errors(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if file == 2 and mode == "w" and args[4:] == (False,):
            return shared(2)
        return original(file, mode, *args, **kwargs)

    return open_unless_wsgi_errors


def release_wsgi_errors() -> None:
    """Give uWSGI a stream of Python's again."""
    _patches.restore()
