"""A text stream that can stand for `sys.stderr` and cannot block."""

from __future__ import annotations

import io
import os
from threading import get_ident
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, NoReturn

from ..core.system import SYSTEM, System
from ..host.linux import PIPE_BUF
from .buffer import NEWEST, Dropped
from .buffered_descriptor import DEFAULT_BUFFER_BYTES
from .wait_policy import WaitPolicy
from .writer import Writer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Optional, Type

# the longest unfinished line that is kept until its end comes; a longer one is written in parts
LONGEST_PARTIAL_BYTES = 256 * 1024


class NonBlockingStream(io.TextIOBase):
    """A text stream that its reader cannot block, on standard error by default.

    It raises no `OSError`. Text is assembled to whole lines for each thread, so that `print` from
    many threads never interleaves. A write waits for a slow reader while it makes progress, within
    the limits of `wait_policy`, and does not wait for a stalled one. What finds no room is buffered
    up to `buffer_bytes`, keeping the newest or the oldest lines; the rest is dropped, counted in
    `dropped`, and reported in the log when there is room again. `flush` does not wait either;
    `drain(seconds)` does, for a limited time, at the end of a process.

    UTF-8, `backslashreplace`. `close` leaves the descriptor open. Safe in signal handlers and after
    any fork: no other thread can wait for a lock that it holds.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = False
    name = "<stderr>"
    mode = "w"

    def __init__(
        self,
        fd: int = 2,
        *,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        keep: str = NEWEST,
        wait_policy: Callable[[], WaitPolicy] = WaitPolicy,
        system: System = SYSTEM,
    ) -> None:
        self.writer = Writer(
            fd, buffer_bytes=buffer_bytes, keep=keep, wait_policy=wait_policy, system=system
        )
        self.buffer = _BinaryLayer(self)
        self._put = self.writer.put
        self._partial: Dict[int, bytes] = {}  # the unfinished line of each thread
        self._process: object = self.writer.buffer()

    def __repr__(self) -> str:
        dropped = self.dropped.lines
        return f"<NonBlockingStream fd={self.writer.fd} via={self.writer.via} dropped={dropped}>"

    @property
    def dropped(self) -> Dropped:
        """Return how many lines and bytes this process has dropped."""
        return self.writer.dropped

    def write(self, text: str) -> int:
        """Write text; return its length.

        Raises `TypeError` for anything but text, and nothing else.
        """
        try:
            data = text.encode()
            whole = text[-1] == "\n"
        except UnicodeEncodeError:
            data = text.encode("utf-8", "backslashreplace")
            whole = text[-1] == "\n"
        except IndexError:  # nothing to write
            return 0
        except AttributeError:
            msg = f"write() argument must be str, not {type(text).__name__}"
            raise TypeError(msg) from None
        # `Writer.put`, inlined: the call would be a tenth of the time
        writer = self.writer
        if self._partial or not whole:
            self.assemble(data)
        elif len(data) > PIPE_BUF:
            writer.hold_long(data)
        elif writer.busy:
            writer.hold(data)
        else:
            try:
                gone = writer.send(data)
                if gone != len(data):
                    writer.torn(data[gone:])
            except OSError as error:
                writer.failed(data, error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Write each of the lines, which must include their line ends."""
        for line in lines:
            self.write(line)

    def assemble(self, data: bytes) -> None:
        """Write the complete lines of this thread, and keep the beginning of the next one."""
        ident = get_ident()
        self._forget_parent()
        data = self._partial.pop(ident, b"") + data
        end = data.rfind(b"\n") + 1
        if end:
            self._put(data[:end])
        rest = data[end:]
        if len(rest) > LONGEST_PARTIAL_BYTES:
            self._put(rest)
            rest = b""
        # a signal handler may have begun a line between the pop above and here
        while rest and self._partial.setdefault(ident, rest) is not rest:
            rest = self._partial.pop(ident, b"") + rest

    def flush(self) -> None:
        """Write this thread's unfinished line, and what is buffered as far as there is room."""
        if self._partial:
            self._forget_parent()
            self._put_partial(get_ident())
        if self.writer.busy:
            self.writer.drain()

    def drain(self, seconds: float) -> bool:
        """Flush, waiting up to `seconds` for room; return whether everything is written."""
        self.flush()
        return self.writer.flush(seconds)

    def finish(self, seconds: float) -> bool:
        """Write what all threads have begun, waiting up to `seconds`; return if all is written.

        For the end of a process: it may tear lines that other threads are about to complete.
        """
        self._forget_parent()
        for ident in tuple(self._partial):
            self._put_partial(ident)
        return self.writer.flush(seconds)

    def _put_partial(self, ident: int) -> None:
        partial = self._partial.pop(ident, b"")
        if partial:
            self._put(partial)

    def _forget_parent(self) -> None:
        process = self.writer.buffer()  # each process has its own
        if self._process is not process:  # the parent writes what its threads had begun
            self._process, self._partial = process, {}

    def fileno(self) -> int:
        """Return the descriptor. What is written there directly may block."""
        return self.writer.fd

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        try:
            return os.isatty(self.writer.fd)
        except OSError:
            return False

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def closed(self) -> bool:
        """Return False: the stream is never closed, because other objects may hold it."""
        return False

    def close(self) -> None:
        """Flush, and leave the descriptor open: the stream does not own it."""
        self.flush()

    def __del__(self) -> None:
        # that of the base would close the stream, which flushes, into whatever has the number of
        # the descriptor by then
        return

    def __enter__(self) -> NonBlockingStream:  # noqa: PYI034 - Self is in typing since 3.11
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.flush()

    def detach(self) -> NoReturn:
        """Raise `io.UnsupportedOperation`: there is no buffer to detach."""
        raise io.UnsupportedOperation("detach")

    def reconfigure(self, **changes: Any) -> None:
        """Change nothing: the stream is always line-buffered UTF-8."""


class _BinaryLayer(io.BufferedIOBase):
    """`sys.stderr.buffer`: bytes, assembled to lines together with the text."""

    name = "<stderr>"
    mode = "wb"

    def __init__(self, stream: NonBlockingStream) -> None:
        self.raw = self
        self._stream = stream

    def write(self, data: Any) -> int:
        """Write bytes; return how many there were."""
        size = len(data)
        self._stream.assemble(bytes(data))
        return size

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def __del__(self) -> None:
        return  # as in NonBlockingStream

    @property
    def closed(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Flush the stream, and leave the descriptor open."""
        self._stream.flush()
