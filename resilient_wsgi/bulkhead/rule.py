"""The rule of fair share: when an upstream is limited, which calls are refused, which are ended.

A call is *stuck* when it is much older than what is usual for its upstream. While threads are idle
or no request waits, nothing is refused or ended. When the pool *starves* (requests wait, no thread
is idle) and stuck calls hold more than their share of it, the youngest of those above are ended,
and where no answer comes in time any more, the upstream is limited: calls above a cap are refused.
The cap halves by the clock and grows with fast answers in a row. The oldest stuck call stays as a
*scout*, which finds out that an upstream is slow and not dead; one slot is always a short *probe*,
which finds recovery within a second.

Nothing here reads a clock or memory: it gets the time and a `Threads`. docs/fair-share.md has the
reasons for the constants, `bench.bulkhead.sim` what each of them costs.
"""

from __future__ import annotations

import math
from typing import Dict, List, NamedTuple, Protocol

from .state import Limit, Pool, Upstream, bucket_of

SLOW_CALL = 1.0  # a call may be this old whatever is usual: above the pauses of garbage collectors
FACTOR = 4.0  # times what is usual
UNKNOWN = 3.0  # without history
SHARE = 0.5  # of the threads
EARLY = 0.25  # of them, once the pool has starved for a while
RESERVE = 0.2  # of them, left idle by an upstream that answers, but slowly
UNSAFE = 5.0  # before this age a request that is not idempotent is not ended once it was sent
READ_TIMEOUT = 15.0  # a caller that allows more than the default is believed while nothing is known

HUNGRY = 0.5  # pressure from which the pool starves, not for a moment
STEP = 1.0  # of the ladder: each second of hunger
CALM = 5.0  # without hunger, before it goes one step back
LATE = 2  # steps after which fast answers do not keep an upstream from being limited
RAMP = 5  # fast answers in a row double the cap
LIFT = 20  # of them lift the limit
TRIAL = 5.0  # without hunger, and most answers in time, lift it too
IDLE = 10.0  # without a refusal lift it where it answers, slowly
DUTY = 4  # a starving pool has one probe in so many times its duration
FROZEN = 4  # windows while it is limited count once in so many
BAD = 0.2
SUSTAINED = 3.0  # slower than usual, but too fast to be stuck
BULK = 3.0
BLINK = 0.01  # a lateness that is none
GAP = 2.0  # without a look at the pool: nothing is known of the time between


class Call(NamedTuple):
    """A call in flight: whose, since when, and up to which age it is left alone in any case."""

    upstream: Upstream
    since: float
    patience: float = 0.0
    place: int = 0
    mine: bool = True  # of this process


class Threads(Protocol):
    """What the threads of the pool do at this moment."""

    @property
    def count(self) -> int:
        """How many live threads serve requests."""

    def idle(self) -> int:
        """Return how many of them have no request."""

    def queued(self) -> bool:
        """Return whether requests wait for a thread."""

    def held(self, upstream: Upstream) -> int:
        """Return how many of them wait for an upstream."""

    def oldest(self, upstream: Upstream) -> float:
        """Return since when the oldest of these calls is in flight, infinity if there is none."""

    def calls(self) -> List[Call]:
        """Return all calls in flight, the oldest first."""


class Verdict:
    """What a look at the pool has led to: calls to end, upstreams that are limited or free now."""

    __slots__ = ("ended", "lifted", "limited")

    def __init__(self) -> None:
        self.ended: List[Call] = []
        self.limited: List[Upstream] = []
        self.lifted: List[Upstream] = []


class Rule:
    """Decides for one pool of threads; `upstreams` are those that are known, by their numbers."""

    def __init__(self, pool: Pool, share: float = SHARE, slow_call: float = SLOW_CALL) -> None:
        self.pool = pool
        self.upstreams: Dict[int, Upstream] = {}
        self._share = share
        self.slow_call = slow_call
        # seconds: for how long this process had no CPU of late; so much older do calls look
        self.late = 0.0

    def __repr__(self) -> str:
        return f"<Rule level={self.pool.level:g} pressure={self.pool.pressure:.2f}>"

    # What is usual

    def stuck_after(self, upstream: Upstream, patience: float = 0.0) -> float:
        """Return the age from which a call is stuck."""
        usual = upstream.history.usual
        limit = max(self.slow_call, FACTOR * usual) if usual else UNKNOWN
        return max(limit + self.late, patience)

    def probe_time(self, upstream: Upstream) -> float:
        """Return how long a probe may take."""
        return max(self.slow_call, 2 * upstream.history.usual) + self.late

    # How much is tolerated

    def share(self, threads: Threads) -> int:
        """Return how many threads are the share of what hangs."""
        return max(1, int(threads.count * self._share))

    def _keep(self, threads: Threads) -> int:
        """Return how many stuck calls are tolerated: the share, halved each second that the pool
        starves, then none.
        """
        share, level = self.share(threads), int(self.pool.level)
        return 0 if threads.count == 1 or level >= share.bit_length() else share >> level

    def limited(self) -> List[Upstream]:
        """Return the upstreams that are limited."""
        return [up for up in self.upstreams.values() if up.limit.limited_at]

    def _base(self, upstream: Upstream, threads: Threads, now: float) -> int:
        """Return the cap of a limited upstream before answers raise it. It halves by the clock."""
        share, others, limit = self.share(threads), max(1, len(self.limited())), upstream.limit
        least = 2 if 2 * others <= share and self._keep(threads) else 1  # a scout and a probe
        since = max(limit.limited_at, limit.alive_until)
        if limit.alive_until > limit.limited_at:
            # it has answered: silence while no call is in flight says nothing
            since = max(since, threads.oldest(upstream))
        quiet = max(0.0, now - since)
        return max(least, share // others >> min(8, int(quiet / self.probe_time(upstream))))

    # Each call

    def admits(self, upstream: Upstream, threads: Threads, now: float) -> bool:
        """Return whether one more call may begin; the calls that `threads` counts are others."""
        limit = upstream.limit
        if upstream.exempt:
            return True
        admitted = self._within_set_share(upstream, threads) and (
            self._probes(upstream, threads, now)
            if limit.ordered_at
            else self._may_call(upstream, threads, now)
        )
        if not admitted:
            limit.refused_at = now
            limit.refused += 1
        return admitted

    @staticmethod
    def _within_set_share(upstream: Upstream, threads: Threads) -> bool:
        share = upstream.share
        return share is None or threads.held(upstream) < math.ceil(share * threads.count)

    def _may_call(self, upstream: Upstream, threads: Threads, now: float) -> bool:
        limit = upstream.limit
        limited = bool(limit.limited_at)
        if not limited and limit.bulk_until <= now:
            return True
        held, cap = threads.held(upstream), self.share(threads)
        if limited:
            cap = self._base(upstream, threads, now) << min(8, int(limit.streak) // RAMP)
        if not limited or limit.alive_until >= now:
            # it answers, but slowly: it may use what is idle, but for a reserve
            return held < cap or threads.idle() > RESERVE * threads.count
        starves = not self._keep(threads) and self.pool.pressure > HUNGRY and not limit.streak
        if starves and now < limit.probe_at + (1 + DUTY) * self.probe_time(upstream):
            return False
        if held >= cap or sum(map(threads.held, self.limited())) >= self.share(threads):
            return False
        limit.probe_at = now
        return True

    def _probes(self, upstream: Upstream, threads: Threads, now: float) -> bool:
        """Return whether a call may probe an upstream that an operator has limited."""
        if threads.held(upstream) or now < upstream.limit.probe_at + self.slow_call:
            return False
        upstream.limit.probe_at = now
        return True

    def answered(self, upstream: Upstream, seconds: float, now: float) -> bool:
        """Note an answer: its headers came after `seconds`. Return whether that lifts the limit.

        Any answer counts: one that says no holds no thread. The time goes into the history by
        whoever collects it, see `weight`.
        """
        limit = upstream.limit
        fast = seconds <= self.stuck_after(upstream)
        limit.bad += 0.1 * ((not fast) - limit.bad)
        limit.recent += 0.1 * (seconds - limit.recent)
        limit.streak = limit.streak + 1 if fast else 0
        if not fast:
            limit.alive_until, limit.censored = now + 2 * seconds, 0
            return False
        limit.fast_at = now
        return bool(limit.limited_at) and self._lifts(upstream, now)

    def _lifts(self, upstream: Upstream, now: float) -> bool:
        limit = upstream.limit
        tried = now - max(self.pool.hungry_at, limit.limited_at) > TRIAL
        if limit.streak >= LIFT or (limit.bad < 0.5 and tried):
            limit.limited_at = 0
            return True
        return False

    def weight(self, upstream: Upstream, seconds: float) -> float:
        """Return the time that an answer stands for: a slow one, for those that were ended, too."""
        fast = seconds <= self.stuck_after(upstream)
        return seconds * (1 if fast else 1 + upstream.limit.censored)

    def learn(self, upstream: Upstream, seconds: float) -> None:
        """Add an answer to the history. Before `answered`, which forgets who was ended."""
        upstream.history.add(bucket_of(seconds), self.weight(upstream, seconds))

    def failed(self, upstream: Upstream, *, ended: bool = False) -> None:
        """Note a call that had no answer; `ended` by this rule."""
        limit = upstream.limit
        limit.bad += 0.1 * (1 - limit.bad)
        limit.streak = 0
        if ended:
            limit.censored += 1
            limit.ended += 1

    # Each quarter of a second

    def look(self, threads: Threads, now: float) -> Verdict:
        """Look at the pool; say which calls of this process have to end."""
        verdict = Verdict()
        starving = self._starves(threads, now)
        hungry = self._measure(starving, now)
        calls = threads.calls()
        for upstream in self.upstreams.values():
            if self._close_window(upstream, now) and upstream.limit.limited_at:
                upstream.limit.limited_at = 0
                verdict.lifted.append(upstream)
        self._reclaim(calls, threads, now, starving, hungry, verdict)
        for upstream in self.upstreams.values():
            self._hold(upstream, calls, threads, now, verdict)
            self._see_bulk(upstream, threads, now)
        self.pool.restrained = any(_restrained(up.limit, now) for up in self.upstreams.values())
        verdict.ended = [call for call in dict.fromkeys(verdict.ended) if call.mine]
        return verdict

    def _starves(self, threads: Threads, now: float) -> bool:
        """Return whether requests wait for a thread, and none is idle.

        A router that opens no more connections than there are threads has them wait where it cannot
        be seen; so a pool of which no thread was idle for as long as a call may be silent starves,
        too. Not one of a single thread, which is never idle while it works.
        """
        pool = self.pool
        idle = threads.idle() > 0
        if idle or now - pool.sampled_at > GAP:
            pool.idle_at = now
        if idle:
            return False
        return threads.queued() or (threads.count > 1 and now - pool.idle_at > READ_TIMEOUT)

    def _measure(self, starving: bool, now: float) -> bool:
        pool = self.pool
        gone = 1 - math.exp(min(0.0, pool.sampled_at - now))
        pool.pressure += (starving - pool.pressure) * gone
        pool.sampled_at = now
        hungry = pool.pressure > HUNGRY
        if hungry:
            pool.hungry_at = now
        else:
            pool.calm_at = now
        return hungry

    def _reclaim(
        self,
        calls: List[Call],
        threads: Threads,
        now: float,
        starving: bool,
        hungry: bool,
        verdict: Verdict,
    ) -> None:
        """End stuck calls above the share while the pool starves; limit upstreams that are mute."""
        pool, keep, share = self.pool, self._keep(threads), self.share(threads)
        quarter = max(1, int(threads.count * EARLY))
        stuck = self._stuck(calls, now)
        total = sum(map(len, stuck.values()))
        known = any(self.upstreams[number].limit.limited_at for number in stuck)
        at_once = starving and pool.level == 0 and total > keep
        if at_once or (hungry and total > (0 if known else min(keep, quarter))):
            early = hungry and (pool.level or total <= keep)
            each = (min(keep, quarter) if early else keep) // len(stuck)
            for number, held in stuck.items():
                if len(held) > each:
                    self._limit(self.upstreams[number], now, verdict)
                    verdict.ended += held[each:]
            if now - pool.stepped_at >= STEP:
                pool.level = min(int(pool.level) + hungry, share.bit_length())
                pool.stepped_at = now
        elif pool.level and now - max(pool.stepped_at, pool.hungry_at) >= CALM:
            pool.level, pool.stepped_at = pool.level - 1, now

    def _stuck(self, calls: List[Call], now: float) -> Dict[int, List[Call]]:
        stuck: Dict[int, List[Call]] = {}
        for call in calls:
            upstream = call.upstream
            old = now - call.since > self.stuck_after(upstream, call.patience)
            if old and not upstream.exempt:
                stuck.setdefault(upstream.number, []).append(call)
        return stuck

    def _limit(self, upstream: Upstream, now: float, verdict: Verdict) -> None:
        limit = upstream.limit
        mute = now - limit.fast_at > self.probe_time(upstream)
        if not limit.limited_at and (mute or (self.pool.level >= LATE and limit.bad > BAD)):
            limit.limited_at, limit.streak = now, 0
            self.pool.restrained = 1
            limit.refused_before, limit.ended_before = limit.refused, limit.ended
            verdict.limited.append(upstream)

    def _hold(
        self, upstream: Upstream, calls: List[Call], threads: Threads, now: float, verdict: Verdict
    ) -> None:
        """Keep a limited upstream to its base: one of its slots is always a short probe's."""
        limit = upstream.limit
        if not limit.limited_at:
            return
        alive = limit.alive_until > now
        if alive and now - max(limit.refused_at, limit.limited_at) > IDLE:
            limit.limited_at = 0  # it does not bind
            verdict.lifted.append(upstream)
            return
        wait = self.stuck_after(upstream) if alive else self.probe_time(upstream)
        old = [
            call
            for call in calls
            if call.upstream is upstream and now - call.since > max(wait, call.patience)
        ]
        keep = self._base(upstream, threads, now) - (not alive)
        verdict.ended += old[max(0, keep) :]

    def _see_bulk(self, upstream: Upstream, threads: Threads, now: float) -> None:
        """Notice one that is slower than usual, but too fast to be stuck: it is only not let in."""
        limit, usual = upstream.limit, upstream.history.usual
        if not usual or self.late > BLINK or limit.recent < FACTOR * usual:
            limit.slow_since = now
        since = max(self.pool.calm_at, limit.slow_since)
        if now - since > SUSTAINED and threads.held(upstream) >= self.share(threads):
            limit.bulk_until = now + BULK
        elif usual and limit.recent < 2 * usual:
            limit.bulk_until = 0

    @staticmethod
    def _close_window(upstream: Upstream, now: float) -> bool:
        """Close a window of the history that is over. Return whether it was the first: what was
        limited by what was guessed is not limited by what is known.
        """
        history, limit = upstream.history, upstream.limit
        if not history.closes:
            history.closes = now + 1.0
        known = history.usual > 0
        if now < history.closes or history.count < (5 if known else 1):
            return False
        restrained = bool(limit.limited_at) or limit.bulk_until > now
        history.skip = history.skip + 1 if restrained else 0
        # what is seen while it is limited teaches four times slower
        history.close(now, counts=not known or history.skip % FROZEN == 0)
        return not known and history.usual > 0


def _restrained(limit: Limit, now: float) -> bool:
    return bool(limit.limited_at or limit.ordered_at or limit.bulk_until > now)
