"""The gate that outbound calls pass: it marks who waits for what, and refuses what a limit forbids.

In the way of every call of a request: one that is well costs a few stores into shared memory.
"""

from __future__ import annotations

from _thread import get_ident
from typing import Any, Callable, Optional

from ..core.guard import Guard
from ..core.system import SYSTEM
from ..errors import UpstreamLimited
from ..shm.layout import TRIED_BEFORE
from ..shm.scoreboard import Scoreboard
from ..upstream import Call, meeting
from .rows import Others, Rows
from .rule import READ_TIMEOUT, UNSAFE, Rule
from .state import RESTRAINED, History, Upstream
from .upstreams import Upstreams

_guard = Guard("bulkhead")
_FEW = 0.01  # of the calls are bad
# Envoy's retry budget has the same default: so many retries at a time, or this part of the calls
RETRIES, RETRY_SHARE = 3, 0.2


class Gate:
    """Implements `upstream.Gate` for the threads of this process."""

    def __init__(
        self,
        board: Scoreboard,
        upstreams: Upstreams,
        rows: Rows,
        rule: Rule,
        lifted: Callable[[Upstream], object],
        *,
        report: bool,
    ) -> None:
        self._waits = board.waits_for
        self._since = board.waits_since
        self._patience = board.patience
        self._upstreams = upstreams
        self._rows = rows
        self._rule = rule
        self._lifted = lifted
        self.report = report
        self._now = SYSTEM.monotonic
        self._pool = rule.pool.numbers
        self._restrained = rule.pool.base + RESTRAINED

    def __repr__(self) -> str:
        return f"<Gate {self._rule}>"

    def enter(self, target: Any) -> Optional[Call]:
        """Return a call, marked, or `limited` if it may not begin; None if it does not count."""
        try:
            place = meeting.place_of(get_ident())
            upstream = None if place is None else self._upstreams.of(target)
            if upstream is None or place is None:
                return None
            call = Call()
            call.gate = self
            call.upstream = upstream
            call.place = place
            call.limited = ""
            call.heard = call.patient = False
            call.began = now = self._now()
            self._since[place] = now
            self._waits[place] = upstream.number  # first: who counts now counts this one, too
            call.marked = True
            if self._pool[self._restrained] or upstream.share is not None:
                self._admit(call, upstream, now)
        except Exception as error:
            _guard.report(error)
            return None
        else:
            return call

    def _admit(self, call: Call, upstream: Upstream, now: float) -> None:
        if self._rule.admits(upstream, Others(self._rows, upstream), now) or self.report:
            return
        self.pause(call)
        call.upstream = None
        call.limited = self._why_refused(upstream)

    def _why_refused(self, upstream: Upstream) -> str:
        held, count = self._rows.held(upstream), self._rows.count
        if upstream.limit.ordered_at:
            why = "by an operator (resilient-wsgi limit)"
        elif upstream.share is not None and not upstream.limit.limited_at:
            why = f"{held} of {count} threads wait for it, its share in BULKHEAD.HOSTS"
        else:
            why = f"{held} of {count} threads wait for it, and it does not answer in time"
        return f"{why}; nothing was sent"

    def resume(self, call: Call) -> None:
        """Mark a call again, whose thread goes on to wait for it."""
        place = meeting.place_of(get_ident())
        if place is not None and call.upstream is not None:
            call.place = place
            self._since[place] = self._now()
            self._waits[place] = call.upstream.number
            call.marked = True

    def pause(self, call: Call) -> None:
        """Take away the mark of a call: its thread does something else."""
        if call.marked:
            call.marked = False
            self._waits[call.place] = 0

    def touch(self, call: Call) -> None:
        """Note that bytes have come."""
        self._since[call.place] = self._now()

    def answer(self, call: Call) -> None:
        """Note that the headers of an answer have come."""
        now = self._now()
        self._since[call.place] = now
        if call.heard:
            return
        call.heard = True
        seconds = now - call.began
        learned = call.upstream.learned
        if seconds > learned.fast_below:
            self._look_closely(call.upstream, seconds, now)
            return
        learned.times[int(seconds * 1000).bit_length()] += seconds
        learned.answers += 1
        learned.fast_at = now

    def _look_closely(self, upstream: Upstream, seconds: float, now: float) -> None:
        try:
            self._rule.learn(upstream, seconds)
            self._answered(upstream, seconds, now)
        except Exception as error:
            _guard.report(error)

    def _answered(self, upstream: Upstream, seconds: float, now: float) -> None:
        if self._rule.answered(upstream, seconds, now):
            self._lifted(upstream)

    def retry(self, call: Call) -> bool:
        """Return whether a call may be tried again, and note that it is.

        Not if its upstream is limited, nor if many retries are under way: they are what turns a
        short failure of an upstream into a long one.
        """
        upstream = call.upstream
        if upstream is None or not call.marked or self.report:
            return True
        limit, rows = upstream.limit, self._rows
        if limit.limited_at or limit.ordered_at:
            return False
        if self._waits[call.place] & TRIED_BEFORE:
            return True
        if 1 + rows.tried_again(upstream) > max(RETRIES, RETRY_SHARE * rows.held(upstream)):
            return False
        self._waits[call.place] = upstream.number | TRIED_BEFORE
        return True

    def leave(self, call: Call, error: Optional[BaseException]) -> None:
        """Note the end of a call."""
        if call.marked:
            call.marked = False
            self._waits[call.place] = 0
        if call.patient:
            call.patient = False
            self._patience[call.place] = 0.0
        upstream = call.upstream
        if upstream is None or (call.heard and not call.limited):
            return
        call.heard = True
        try:
            self._ended(call, upstream, error)
        except Exception as mistake:
            _guard.report(mistake)

    def _ended(self, call: Call, upstream: Upstream, error: Optional[BaseException]) -> None:
        now = self._now()
        if call.limited or isinstance(error, UpstreamLimited):
            call.upstream = None
            self._rule.failed(upstream, ended=True)
        elif now - call.began > self._rule.stuck_after(upstream):
            self._rule.failed(upstream)
        elif upstream.limit.limited_at:
            # a connection that is refused holds no thread: as good as an answer, but it teaches
            # nothing of how long answers take
            self._answered(upstream, now - call.began, now)

    def allow(self, call: Call, seconds: float) -> None:
        """Note how long its caller lets it wait: believed while nothing is known."""
        if call.marked and seconds > READ_TIMEOUT and not call.upstream.history.usual:
            self._patience[call.place] = seconds
            call.patient = True

    def sent(self, call: Call) -> None:
        """Note that it was sent in full, and must not be repeated lightly."""
        usual = call.upstream.history.usual
        self._since[call.place] = self._now()
        self._patience[call.place] = max(self._patience[call.place], UNSAFE, usual)
        call.patient = True

    def flush(self) -> None:
        """Add what this process has seen to what all have. For the watchdog."""
        for upstream in list(self._upstreams.known.values()):
            learned, limit = upstream.learned, upstream.limit
            if learned.answers:
                self._share_learned(upstream)
            watched = limit.limited_at or limit.bad > _FEW
            learned.fast_below = 0.0 if watched else self._rule.stuck_after(upstream)

    @staticmethod
    def _share_learned(upstream: Upstream) -> None:
        learned, limit, history = upstream.learned, upstream.limit, upstream.history
        answers, learned.answers = learned.answers, 0
        times, learned.times = learned.times, [0.0] * History.BUCKETS
        for bucket, seconds in enumerate(times):
            if seconds:
                history.add(bucket, seconds, 0)
        history.count += answers
        limit.recent += (1 - 0.9**answers) * (sum(times) / answers - limit.recent)
        limit.fast_at = max(limit.fast_at, learned.fast_at)
