"""A text stream that can stand for `sys.stderr` and cannot block."""

from __future__ import annotations

import io
import os
from threading import get_ident
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, NoReturn

from ..core.system import SYSTEM, System
from ..host.linux import PIPE_BUF
from .buffer import NEWEST, Dropped
from .patience import Patience
from .writer import DEFAULT_SPILL_BYTES, Writer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Optional, Type

# the longest beginning of a line that is kept until its end comes; a longer one goes in parts
LONGEST_PARTIAL = 256 * 1024


class NonBlockingStream(io.TextIOBase):
    """Writes to a descriptor, standard error by default, without being blocked by its reader, and
    raises no `OSError`.

    What is written is put together to whole lines for each thread, so that `print` from many
    threads never interleaves. A reader that is slow is waited for while it makes progress, within
    the bounds of `patience`; one that is stalled is not. What it leaves no room for is kept up to
    `spill_bytes`, the newest or the oldest of it; the rest is dropped, counted in `dropped`, and
    reported in the log when there is room again. `flush` does not wait either: at the end of a
    process, `drain(seconds)` does, for a bounded time.

    UTF-8, `backslashreplace`. `close` leaves the descriptor open. Usable in signal handlers and
    after any fork. It holds no lock that somebody could wait for.
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
        spill_bytes: int = DEFAULT_SPILL_BYTES,
        keep: str = NEWEST,
        patience: Callable[[], Patience] = Patience,
        system: System = SYSTEM,
    ) -> None:
        self.writer = Writer(
            fd, spill_bytes=spill_bytes, keep=keep, patience=patience, system=system
        )
        self.buffer = _Buffer(self)
        self._put = self.writer.put
        self._partial: Dict[int, bytes] = {}  # what each thread has begun
        self._process: object = self.writer.spill()

    def __repr__(self) -> str:
        return f"<NonBlockingStream fd={self.writer.fd} via={self.writer.via} dropped={self.dropped.lines}>"

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
        # `Writer.put`, written out: the call would be a tenth of the time
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
        """Write each of the lines, which bring their own line ends."""
        for line in lines:
            self.write(line)

    def assemble(self, data: bytes) -> None:
        """Write the whole lines of what this thread has written so far, and keep the beginning of
        the next.
        """
        ident = get_ident()
        self._forget_the_parent()
        data = self._partial.pop(ident, b"") + data
        end = data.rfind(b"\n") + 1
        if end:
            self._put(data[:end])
        rest = data[end:]
        if len(rest) > LONGEST_PARTIAL:
            self._put(rest)
            rest = b""
        # a signal handler may have begun a line between the pop above and here
        while rest and self._partial.setdefault(ident, rest) is not rest:
            rest = self._partial.pop(ident, b"") + rest

    def flush(self) -> None:
        """Write what this thread has begun, and what waits as far as there is room now."""
        if self._partial:
            self._forget_the_parent()
            self._put_begun(get_ident())
        if self.writer.busy:
            self.writer.drain()

    def drain(self, seconds: float) -> bool:
        """Do the same and wait at most so long for room; return whether all is written."""
        self.flush()
        return self.writer.flush(seconds)

    def finish(self, seconds: float) -> bool:
        """Do the same for all threads, whose lines may be torn by that.

        For the end of a process.
        """
        self._forget_the_parent()
        for ident in tuple(self._partial):
            self._put_begun(ident)
        return self.writer.flush(seconds)

    def _put_begun(self, ident: int) -> None:
        begun = self._partial.pop(ident, b"")
        if begun:
            self._put(begun)

    def _forget_the_parent(self) -> None:
        process = self.writer.spill()
        if self._process is not process:  # a fork: what its threads had begun the parent will write
            self._process, self._partial = process, {}

    def fileno(self) -> int:
        """Return the descriptor. Who writes there directly is on his own."""
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
        """Return False: it is never closed, as others may hold it."""
        return False

    def close(self) -> None:
        """Flush, and leave the descriptor open, which is not ours."""
        self.flush()

    def __del__(self) -> None:
        # the base's would close it, which flushes: into whatever has the number of the descriptor
        # by then
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
        """Raise `io.UnsupportedOperation`: there is no buffer to part from."""
        raise io.UnsupportedOperation("detach")

    def reconfigure(self, **changes: Any) -> None:
        """Do nothing: this is line-buffered UTF-8, whatever `sys.stderr.reconfigure` asks for."""


class _Buffer(io.BufferedIOBase):
    """`sys.stderr.buffer`: bytes, through the same lines as the text."""

    name = "<stderr>"
    mode = "wb"

    def __init__(self, stream: NonBlockingStream) -> None:
        self.raw = self
        self._stream = stream

    def write(self, data: Any) -> int:
        """Write bytes; return how many."""
        size = len(data)
        self._stream.assemble(bytes(data))
        return size

    def flush(self) -> None:
        """Do as the stream does."""
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
        return  # as above

    @property
    def closed(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Flush only."""
        self._stream.flush()
