"""How long writers wait for a log reader that is slow, and when they stop waiting for one that is
stalled.
"""

from __future__ import annotations

STALL_SECONDS = 0.25  # without the reader taking a byte
# and after so many looks: on a busy machine neither the reader nor we may have run meanwhile
STALL_POLLS = 15
CREDIT_SECONDS = 10.0
SHARE = 0.25
RECOVERED_BYTES = 32 * 1024


class Patience:
    """The waits of all threads of one process for room in the log.

    A thread waits for as long as the reader makes progress. A reader that takes nothing for `stall`
    seconds is stalled: from then on nobody waits, until it has taken `RECOVERED_BYTES` at once or
    all that was buffered. A reader that is too slow for what is written costs at most `credit`
    seconds at a stretch and, after that, `share` of the time: waits of several threads at the same
    time count once.
    """

    __slots__ = (
        "_charged_until",
        "_credit",
        "_credit_at",
        "_limit",
        "_moved_at",
        "_polls",
        "_share",
        "_stall",
        "stalled",
    )

    def __init__(
        self, *, stall: float = STALL_SECONDS, credit: float = CREDIT_SECONDS, share: float = SHARE
    ) -> None:
        self.stalled = False
        self._stall = stall
        self._limit = self._credit = credit
        self._share = share
        self._credit_at = self._charged_until = self._moved_at = 0.0
        self._polls = 0

    def __repr__(self) -> str:
        return f"<Patience {'stalled' if self.stalled else 'waits'}, {self._credit:.1f} s left>"

    def begin(self, now: float) -> None:
        """Note that a thread begins to wait."""
        # nobody has waited for a while: a stall is counted from here
        if now - self._charged_until > self._stall:
            self.moved(now)
        self._credit = min(self._limit, self._credit + (now - self._credit_at) * self._share)
        self._credit_at = now

    def waited(self, begin: float, end: float) -> None:
        """Charge a wait, but for the part of it that other threads have waited, too."""
        begin = max(begin, self._charged_until)
        if end > begin:
            self._credit -= end - begin
            self._charged_until = end
        self._polls += 1

    def moved(self, now: float) -> None:
        """Note that the reader has taken something."""
        self._moved_at = now
        self._polls = 0

    def took(self, size_bytes: int, now: float) -> None:
        """Note that so much was written at once, for which the reader has made room."""
        self.moved(now)
        if size_bytes >= RECOVERED_BYTES:
            self.stalled = False

    @property
    def waits(self) -> bool:
        """Whether a thread may wait for room."""
        return not self.stalled and self._credit > 0

    def judge(self, now: float) -> None:
        """Find the reader stalled if it has taken nothing for so long. For a thread that waits."""
        self.stalled |= now - self._moved_at >= self._stall and self._polls >= STALL_POLLS


class NoPatience(Patience):
    """Of a process that must never wait: the uWSGI master."""

    __slots__ = ()
    waits = False


def of_a_child() -> Patience:
    """Return that of a process which serves no requests: it waits for as long as the reader takes
    anything.
    """
    return Patience(stall=1.0, credit=float("inf"))
