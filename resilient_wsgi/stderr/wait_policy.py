"""How long writers wait for a slow log reader, and when they stop waiting for a stalled one."""

from __future__ import annotations

STALL_SECONDS = 0.25  # without the reader taking a byte
# and after this many polls: on a busy machine neither the reader nor this process may have run
STALL_POLLS = 15
CREDIT_SECONDS = 10.0
CREDIT_SHARE = 0.25
RECOVERED_BYTES = 32 * 1024


class WaitPolicy:
    """Decides whether the threads of one process may wait for room in the log.

    A thread waits for as long as the reader makes progress. A reader that takes nothing for `stall`
    seconds is stalled: from then on no thread waits, until the reader has taken `RECOVERED_BYTES`
    at once or all that was buffered. A reader that is too slow for what is written costs at most
    `credit` seconds at a stretch and, after that, `share` of the time. Simultaneous waits of
    several threads count once.
    """

    __slots__ = (
        "_charged_until",
        "_credit",
        "_credit_at",
        "_limit",
        "_polls",
        "_progress_at",
        "_share",
        "_stall",
        "stalled",
    )

    def __init__(
        self,
        *,
        stall: float = STALL_SECONDS,
        credit: float = CREDIT_SECONDS,
        share: float = CREDIT_SHARE,
    ) -> None:
        self.stalled = False
        self._stall = stall
        self._limit = self._credit = credit
        self._share = share
        self._credit_at = self._charged_until = self._progress_at = 0.0
        self._polls = 0

    def __repr__(self) -> str:
        state = "stalled" if self.stalled else "waits"
        return f"<{type(self).__name__} {state}, {self._credit:.1f} s left>"

    def begin(self, now: float) -> None:
        """Note that a thread begins to wait."""
        # no thread has waited for a while: a stall is counted from here
        if now - self._charged_until > self._stall:
            self.progress(now)
        self._credit = min(self._limit, self._credit + (now - self._credit_at) * self._share)
        self._credit_at = now

    def waited(self, begin: float, end: float) -> None:
        """Charge a wait, except for the part that overlaps with waits of other threads."""
        begin = max(begin, self._charged_until)
        if end > begin:
            self._credit -= end - begin
            self._charged_until = end
        self._polls += 1

    def progress(self, now: float) -> None:
        """Note that the reader has taken something."""
        self._progress_at = now
        self._polls = 0

    def wrote(self, size_bytes: int, now: float) -> None:
        """Note that this much was written at once, so the reader has made room for it."""
        self.progress(now)
        if size_bytes >= RECOVERED_BYTES:
            self.stalled = False

    @property
    def allows_waiting(self) -> bool:
        """Whether a thread may wait for room."""
        return not self.stalled and self._credit > 0

    def detect_stall(self, now: float) -> None:
        """Mark the reader as stalled if it has made no progress for `stall` seconds."""
        self.stalled |= now - self._progress_at >= self._stall and self._polls >= STALL_POLLS


class NeverWait(WaitPolicy):
    """The policy of a process that must never wait: the master of a server."""

    __slots__ = ()
    allows_waiting = False


def for_forked_child() -> WaitPolicy:
    """Return the policy of a process without requests: it waits while the log is read."""
    return WaitPolicy(stall=1.0, credit=float("inf"))
