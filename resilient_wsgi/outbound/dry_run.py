"""Report mode's view of an exchange: how long its waits took, where nothing is enforced."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Callable, Dict, Iterator, Optional

from ..core.system import SYSTEM
from . import pending
from .app_line import caller
from .policy import Limit

_readinto = socket.SocketIO.readinto
_close = socket.SocketIO.close


class DryRun:
    """What an exchange has taken: the limits that it went beyond, by how many seconds each, at
    worst.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._entry: Optional[bytes] = None
        self.line = ""  # the app's, once it has waited
        self.site = ""  # the same, once the call is over
        self.asked = 0.0  # the largest number of the caller's
        self.last = 0.0  # when the last wait was over, on the monotonic clock
        self._beyond: Dict[Limit, float] = {}
        self._told: Dict[Limit, float] = {}

    @contextlib.contextmanager
    def wait(self, limit: Limit, asked: Optional[float]) -> Iterator[None]:
        """Measure a wait that `limit` would have limited; not where the caller `asked` for a
        number, which is kept.
        """
        if self._entry is None:
            self.line = caller().line
            self._entry = pending.entry(self.line, self._host)
        waits = pending.here()
        slot = waits.begin(self._entry)
        began = SYSTEM.monotonic()
        try:
            yield
        finally:
            waits.end(slot)
            self.last = SYSTEM.monotonic()
            if asked is None:
                self.compare(limit, self.last - began)
            else:
                self.asked = max(self.asked, asked)

    def compare(self, limit: Limit, seconds: float) -> None:
        """Remember the limit if it would have been met."""
        if seconds > max(limit.seconds, self._beyond.get(limit, 0.0)) and limit not in self._told:
            self._beyond[limit] = seconds

    def total(self, limit: Limit) -> Limit:
        """Return the total that would have been in force: a larger number of the caller's, unless
        one was set.
        """
        return limit._replace(seconds=max(limit.seconds, self.asked)) if limit.by_default else limit

    def take(self) -> Dict[Limit, float]:
        """Return the limits that were met, each once."""
        found, self._beyond = self._beyond, {}
        self._told.update(found)
        return found


class MeasuredSocketIO(socket.SocketIO):
    """The raw stream of a response whose reads are measured. When it closes, `_over` is called."""

    _dry_run: DryRun
    _limit: Limit
    _over: Optional[Callable[[], None]] = None
    _sock: Any

    def readinto(self, buffer: Any) -> Optional[int]:
        """Read as the base does."""
        with self._dry_run.wait(self._limit, self._sock and self._sock.gettimeout()):
            return _readinto(self, buffer)

    def close(self) -> None:
        """Close as the base does."""
        over, self._over = self._over, None
        _close(self)
        if over is not None:
            over()


def measure_reads(response: Any, dry_run: DryRun, limit: Limit, over: Callable[[], None]) -> None:
    """Have the reads of an `http.client.HTTPResponse` that was just made measured."""
    raw = getattr(response.fp, "raw", None)
    if type(raw) is socket.SocketIO:
        raw.__class__ = MeasuredSocketIO
        raw._dry_run, raw._limit, raw._over = dry_run, limit, over  # type: ignore[attr-defined]  # noqa: SLF001
