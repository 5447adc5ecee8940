"""What fair share is in one worker: its view of the pool, its gate, and what its watchdog does."""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence, Tuple

from ..core.system import SYSTEM
from ..deadline import Deadline
from ..errors import Unavailable
from ..events import Event, UpstreamLimited, UpstreamRecovered
from ..servers import Server
from ..settings.options import REPORT, Bulkhead
from ..shm.layout import upstream_at
from ..shm.scoreboard import Scoreboard
from ..upstream import Call as Outbound
from .gate import Gate
from .rows import Rows
from .rule import Call, Rule
from .state import Limit, Pool, Upstream
from .upstreams import Upstreams

LATE = 0.5  # seconds between two looks while requests run; they should be half of it


class FairShare:
    """Fair share in this process. Raises `Unavailable` where the scoreboard has no place for it."""

    def __init__(
        self, options: Bulkhead, server: Server, announce: Callable[[Event], object]
    ) -> None:
        board = Scoreboard.of_this_instance()
        row = board.mine()
        if row is None or not board.lockable:
            msg = board.why_not_visible or "the scoreboard has no row for this process"
            raise Unavailable(msg)
        threads = server.configuration.threads()
        alone = threads > 1 and server.name == "gunicorn"
        self._announce = announce
        self._board = board
        self._alone = alone
        self._told: Dict[int, Tuple[float, float]] = {}
        self._report = options.mode == REPORT
        self._looked, self._busy = 0.0, False  # whether requests ran then
        self._upstreams = Upstreams(board, options.hosts, alone=alone)
        pool = Pool([0.0] * Pool.SIZE) if alone else Pool(board.pool)
        self.rule = Rule(pool, options.share, options.slow_call)
        self.rule.upstreams = self._upstreams.known
        queued = server.connections.queued()
        self._rows = Rows(board, row, self._upstreams.known, threads, queued, alone=alone)
        self.gate = Gate(
            board, self._upstreams, self._rows, self.rule, self._lifted, report=self._report
        )

    def __repr__(self) -> str:
        return f"<FairShare {self.rule} {self._rows}>"

    def look(self, now: float, requests: List[Tuple[int, Deadline]]) -> None:
        """Look at the pool, and end those calls of this process that have to end."""
        self._note_lateness(now, requests)
        self._upstreams.follow(now)
        self.gate.flush()
        self._rows.refresh(now)
        if self._alone:
            self._follow_orders()
        verdict = self.rule.look(self._rows, now)
        for upstream in verdict.limited:
            self._limited(upstream, now)
        if verdict.ended and not self._report:
            self._end(verdict.ended, requests, now)
        for upstream in verdict.lifted:
            self._lifted(upstream)

    def _note_lateness(self, now: float, requests: List[Tuple[int, Deadline]]) -> None:
        """Note how much later than it should this process looks: it may have had no CPU, or have
        been stopped. Answers that have come meanwhile were not read, which no upstream is to blame
        for.
        """
        late = now - self._looked - LATE if self._busy else 0.0
        self.rule.late = max(0.0, late, self.rule.late / 2)
        self._looked, self._busy = now, bool(requests)

    def _end(self, calls: List[Call], requests: List[Tuple[int, Deadline]], now: float) -> None:
        wanted: Dict[int, Call] = {call.place: call for call in calls}
        for _, request in requests:
            for wait in list(request.waits):
                doing = getattr(wait.doing, "call", None)
                call = wanted.get(doing.place) if isinstance(doing, Outbound) else None
                # the thread may have gone on to another upstream
                if doing and call and doing.marked and doing.upstream is call.upstream:
                    doing.limited = (
                        f"threads are short, and it is silent for {now - call.since:.1f} s; "
                        "the call was ended"
                    )
                    if not wait.interrupt():
                        doing.limited = ""

    def _shown(self, upstream: Upstream) -> Limit:
        """Return the numbers that are seen from outside, and in which operators write."""
        return (
            Limit(self._board.pool, upstream_at(upstream.number)) if self._alone else upstream.limit
        )

    def _follow_orders(self) -> None:
        """Have limits of this worker alone be ordered, and shown, as those of the instance are."""
        for upstream in list(self._upstreams.known.values()):
            shown, limit = self._shown(upstream), upstream.limit
            limit.ordered_at = shown.ordered_at
            refused, ended = self._told.get(upstream.number, (0.0, 0.0))
            self._told[upstream.number] = limit.refused, limit.ended
            shown.refused += limit.refused - refused
            shown.ended += limit.ended - ended

    def _limited(self, upstream: Upstream, now: float) -> None:
        """Say so, once for the instance."""
        shown = self._shown(upstream)
        if self._alone:
            if shown.limited_at:
                return
            shown.limited_at = now
            shown.refused_before, shown.ended_before = shown.refused, shown.ended
        rows = self._rows
        self._announce(
            UpstreamLimited(
                upstream.name,
                rows.held(upstream),
                rows.count,
                max(0.0, now - rows.oldest(upstream)),
                upstream.history.usual,
                dry_run=self._report,
            )
        )

    def _lifted(self, upstream: Upstream) -> None:
        limit = self._shown(upstream)
        if self._alone:
            if not limit.limited_at:  # another worker has said so
                return
            limit.limited_at = 0
        refused = int(limit.refused - limit.refused_before)
        ended = int(limit.ended - limit.ended_before)
        self._announce(UpstreamRecovered(upstream.name, refused, ended, dry_run=self._report))

    def status(self) -> Sequence[str]:
        """Return which upstreams are limited."""
        now = SYSTEM.monotonic()
        lines = [f"share {self.rule.share(self._rows)} of {self._rows.count} threads"]
        for upstream in list(self._upstreams.known.values()):
            limit = upstream.limit
            since = limit.limited_at or limit.ordered_at
            if since:
                who = " by an operator" if limit.ordered_at else ""
                lines.append(
                    f"{upstream.name} is limited{who} for {now - since:.0f} s: "
                    f"{limit.refused - limit.refused_before:.0f} calls refused, "
                    f"{limit.ended - limit.ended_before:.0f} ended"
                )
        return lines
