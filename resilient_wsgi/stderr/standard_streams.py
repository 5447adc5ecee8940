"""The process's one stream for each descriptor, in place of `sys.stderr`, `sys.stdout` and uWSGI's
`wsgi.errors`.

Everyone who writes to a descriptor shares its stream, and so the order of lines, the buffer and the
count of what was dropped.
"""

from __future__ import annotations

import _io
import atexit
import contextlib
import io
import logging
import os
import sys
import threading
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

from .. import servers
from ..core.patching import Patches
from ..core.system import SYSTEM
from ..host import procfs
from ..host.descriptors import PIPE, SOCKET, kind_of
from ..servers.base import MASTER
from ..settings.options import Stderr
from .drain_thread import start_drain_thread
from .stream import NonBlockingStream
from .wait_policy import NeverWait, WaitPolicy, for_forked_child

SUPERVISORS = ("uwsgi", "gunicorn")  # their masters watch over the workers, so they must not wait


class StandardStreams:
    """The streams of this process, by descriptor. A fork inherits them."""

    def __init__(self) -> None:
        self._options = Stderr()
        self._by_fd: Dict[int, NonBlockingStream] = {}
        self._server: Optional[servers.Server] = None

    def shared(self, fd: int) -> NonBlockingStream:
        """Return this process's stream for a descriptor, always the same. It is flushed at exit."""
        stream = self._by_fd.get(fd)
        if stream is None:
            if not self._by_fd:
                atexit.register(self.flush)
                os.register_at_fork(after_in_child=self._after_fork)
            stream = self._by_fd.setdefault(fd, self._make(fd))
            self.attach()
            servers.detect().hooks.start.add(partial(_inherit, stream))
        return stream

    def _make(self, fd: int) -> NonBlockingStream:
        buffer_bytes, keep = self._options.buffer_bytes, self._options.keep
        stream = NonBlockingStream(
            fd, buffer_bytes=buffer_bytes, keep=keep, wait_policy=_wait_policy
        )
        stream.writer.when_waiting = start_drain_thread
        return stream

    def attach(self) -> None:
        """Have the streams flushed when a worker of this server stops.

        Behind `resilient-wsgi exec` the streams exist before the server is known.
        """
        server = servers.detect()
        if server is self._server:
            return
        is_late, self._server = self._server is not None, server
        server.hooks.stop.add(self.flush)
        for stream in self.all() if is_late else ():
            server.hooks.start.add(partial(_inherit, stream))

    def configure(self, options: Stderr) -> None:
        """Give these options to every stream, including those made later."""
        self._options = options
        for stream in self._by_fd.values():
            stream.writer.configure(buffer_bytes=options.buffer_bytes, keep=options.keep)

    def all(self) -> Tuple[NonBlockingStream, ...]:
        """Return the streams that exist."""
        return tuple(self._by_fd.values())

    def flush(self) -> None:
        """Write what waits, within `flush_timeout` seconds for each stream; hand over the rest.

        For the end of the process.
        """
        for fd, stream in self._by_fd.items():
            if not stream.finish(self._options.flush_timeout):
                from . import handover

                handover.leave(fd, stream.writer.give_up())

    def _after_fork(self) -> None:
        """See that a child that the app forked loses nothing to a reader that reads."""
        server = servers.known()
        if server is None or not server.forked_by_app():
            return
        # not imported here, in the child of a fork: where it is not, nothing is to be restored
        children: Any = sys.modules.get(f"{__package__}.children")
        if children is not None and children.restore_in_child():
            for stream in self.all():
                stream.writer.choose()
        util: Any = sys.modules.get("multiprocessing.util")
        if util is not None and self._by_fd:
            # its children exit by os._exit, without atexit; the registry of its finalizers is
            # cleared before this runs
            util.register_after_fork(
                self.all()[0], lambda _: util.Finalize(None, self.flush, exitpriority=-100)
            )


streams = StandardStreams()
shared = streams.shared


def _inherit(stream: NonBlockingStream) -> None:
    identity = servers.detect().identity()
    if not identity.master_pid or identity.master_pid == identity.pid:
        return  # no worker: it has no predecessor
    from . import handover

    dropped = handover.take(stream.writer.fd)
    if dropped.size_bytes:
        stream.writer.inherit(dropped)
        stream.writer.drain()
        start_drain_thread(stream.writer)


def _wait_policy() -> WaitPolicy:
    """Return how long this process waits for the log's reader: called once in each process."""
    # not `detect()`: behind `resilient-wsgi exec` gunicorn's arbiter and what it forks write before
    # there is an app
    server = servers.known()
    if server is None:
        return WaitPolicy()
    if server.name in SUPERVISORS and server.identity().role == MASTER:
        return NeverWait()
    return for_forked_child() if server.forked_by_app() else WaitPolicy()


class Replacements:
    """What stands in the place of the interpreter's own streams, and what stood there before."""

    def __init__(self, streams: StandardStreams) -> None:
        self._shared = streams.shared
        self._originals: Dict[str, Any] = {}  # of sys.stderr and sys.stdout
        # text streams that were made to write to ours, with the arguments that undo it
        self._redirected: List[Tuple[io.TextIOWrapper, int, Dict[str, Any]]] = []
        # handlers of `logging` that were given our stream, with the one that they had
        self._handlers: List[Tuple[Callable[[], Any], Any]] = []
        self._patches = Patches()

    def replace(self, *, both: bool = False) -> List[str]:
        """Replace `sys.stderr`, and `sys.stdout` on the same pipe; return what was replaced.

        `sys.stdout` is also replaced on a descriptor that does not block, where Python's own would
        raise `BlockingIOError`; with `both`, in any case. A stream that is not on the descriptor
        itself stays: the app or a test has captured it.
        """
        replaced = []
        for name in ("stderr", "stdout"):
            current = getattr(sys, name)
            if not isinstance(current, NonBlockingStream):
                fd = _descriptor(current)
                if fd is None or not (both or _same_file(fd, 2) or _raises_when_full(fd)):
                    continue
                self._originals[name] = current
                setattr(sys, name, self._shared(fd))
                self._redirect_all(name, current, fd)
            replaced.append(f"sys.{name} = {getattr(sys, name)!r}{self._caveat(name)}")
        return replaced

    def catch_wsgi_errors(self) -> None:
        """Have uWSGI take our stream for its `wsgi.errors` when it loads an app.

        uWSGI makes one object for each app by `PyFile_FromFd(2, "w")` after the app is loaded
        (plugins/python/pyloader.c), which cannot be reached before the first request. That function
        looks up `_io.open`, which hardly anything else does: `open` and `io.open` are names of
        their own.
        """
        self._patches.wrap(_io, "open", self._open_unless_wsgi_errors)

    def restore(self) -> None:
        """Put back what stood there, unless something else has been put there since."""
        self._patches.restore()
        if _only_thread():  # otherwise they go on writing through ours
            for stream, fd, arguments in self._redirected:
                stream.detach()
                raw = io.FileIO(fd, "w", closefd=False)
                stream.__init__(io.BufferedWriter(raw), **arguments)  # type: ignore[misc]
            self._redirected.clear()
        for reference, before in self._handlers:
            handler = reference()
            if isinstance(getattr(handler, "stream", None), NonBlockingStream):
                handler.stream = before
        self._handlers.clear()
        for name, original in self._originals.items():
            if isinstance(getattr(sys, name), NonBlockingStream):
                setattr(sys, name, original)
        self._originals.clear()

    def _redirect_all(self, name: str, current: Any, fd: int) -> None:
        """Make what holds the interpreter's stream write to ours, as far as that is safe."""
        if _only_thread():
            self._redirect(current, fd)
            self._redirect(getattr(sys, f"__{name}__"), fd)
        elif not self._is_redirected(current):
            for reference in list(getattr(logging, "_handlerList", ())):
                handler = reference()
                if handler is not None and vars(handler).get("stream") is current:
                    # not setStream(): it takes the lock of the handler, in which a thread may be
                    # stuck
                    handler.stream = self._shared(fd)
                    self._handlers.append((reference, current))

    def _is_redirected(self, stream: Any) -> bool:
        return any(stream is redirected for redirected, _, _ in self._redirected)

    def _caveat(self, name: str) -> str:
        original = self._originals.get(name)
        if type(original) is not io.TextIOWrapper or self._is_redirected(original):
            return ""
        return " (other threads ran at install(): references to the old stream may block)"

    def _redirect(self, stream: Any, fd: int) -> None:
        """Make a stream that others hold (handlers of `logging`, bound methods) write to ours.

        The object cannot be exchanged where it is held, but it can be initialised again. That takes
        none of the locks in which threads may be stuck with it. But it is not safe beside a thread
        that writes to it: CPython raises `ValueError`, or crashes.
        """
        if self._is_redirected(stream) or type(stream) is not io.TextIOWrapper:
            return
        arguments = {
            "encoding": stream.encoding,
            "errors": stream.errors,
            "line_buffering": stream.line_buffering,
        }
        with contextlib.suppress(OSError):  # what it still held may find no room
            stream.detach()
        ours = self._shared(fd).buffer
        stream.__init__(ours, "utf-8", "backslashreplace", write_through=True)  # type: ignore[misc]
        self._redirected.append((stream, fd, arguments))

    def _open_unless_wsgi_errors(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def open_unless_wsgi_errors(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if file == 2 and mode == "w" and args[4:] == (False,):
                return self._shared(2)
            return original(file, mode, *args, **kwargs)

        return open_unless_wsgi_errors


replacements = Replacements(streams)


def _only_thread() -> bool:
    """Return whether no other thread can run Python code: not those of C libraries either."""
    return len(procfs.tasks() or threading.enumerate()) == 1


def _descriptor(stream: Any) -> Optional[int]:
    try:
        fd = stream.fileno()
    except Exception:  # None, closed, or an object of the app's without a descriptor
        return None
    return fd if fd in (1, 2) else None


def _same_file(fd: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(other))
    except OSError:
        return False


def _raises_when_full(fd: int) -> bool:
    try:
        return not os.get_blocking(fd) and kind_of(fd, SYSTEM) in (PIPE, SOCKET)
    except OSError:
        return False
