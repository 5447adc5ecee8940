"""Who should read a server's log, and does not, or not as he should."""

from __future__ import annotations

import contextlib
import os
import re
import threading

# what lab/stderr/stderr_app.py writes for each request, and what the library says of lines that it
# has dropped
LINE = re.compile(rb"^line \d+ \d{9} \.+$", re.MULTILINE)
NOTICE = re.compile(rb"^resilient_wsgi: \[RW401\] (\d+) lines", re.MULTILINE)
STALLED, CLOSED, SLOW, RETURNS = "stalled", "closed", "slow", "comes back"
MANNERS = (STALLED, CLOSED, SLOW, RETURNS)


class Reader:
    """A pipe whose reader does not read (`stalled`), is gone (`closed`), reads 4 KiB/s (`slow`), or
    `comes back`.

    With the path of a FIFO it reads that; else `write_end` is for the server. `text` is what it has
    read.
    """

    def __init__(self, manner: str, fifo: str = "") -> None:
        self.manner = manner
        self.write_end = -1
        if fifo:
            self.fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        else:
            self.fd, self.write_end = os.pipe()
            os.set_blocking(self.fd, False)
        self.text = b""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_slowly)

    def begin(self) -> None:
        """Be like that from now on: the server has started."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1
        if self.manner == CLOSED:
            self.end()
        if self.manner == SLOW:
            self._thread.start()

    def _read_slowly(self) -> None:
        while not self._over.wait(0.5):
            self.read(2048)

    def read(self, size: int = 1 << 20) -> None:
        """Read what is there."""
        with contextlib.suppress(BlockingIOError):
            while size > 0:
                chunk = os.read(self.fd, size)
                if not chunk:
                    break
                self.text += chunk
                size -= len(chunk)

    def come_back(self) -> None:
        """Read all that is there. From now on it is to be called again and again."""
        self._stop()
        self.read()

    def accounted(self) -> int:
        """Return how many of the app's lines it has read or that were reported as dropped."""
        return len(LINE.findall(self.text)) + sum(map(int, NOTICE.findall(self.text)))

    def end(self) -> None:
        """Read no more, ever."""
        self._stop()
        for fd in (self.fd, self.write_end):
            if fd >= 0:
                os.close(fd)
        self.fd = self.write_end = -1

    def _stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
