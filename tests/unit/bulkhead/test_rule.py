"""The rule, with a pool and a clock of the test's own."""

from __future__ import annotations

import math

import pytest

from resilient_wsgi.bulkhead import rule as constants
from resilient_wsgi.bulkhead.rule import Call, Rule
from resilient_wsgi.bulkhead.state import History, Pool, Upstream, bucket_of


class Threads:
    """A pool of `count` threads, with the calls that a test puts in."""

    def __init__(self, count, *calls, working=0, queued=True):
        self.count = count
        self._queued = queued
        self._calls = list(calls)
        self._working = working

    def idle(self):
        return max(0, self.count - len(self._calls) - self._working)

    def queued(self):
        return self._queued

    def held(self, upstream):
        return sum(call.upstream is upstream for call in self._calls)

    def oldest(self, upstream):
        return min((c.since for c in self._calls if c.upstream is upstream), default=math.inf)

    def calls(self):
        return sorted(self._calls, key=lambda call: call.since)


NOW = 1000.0


@pytest.fixture
def rule():
    return Rule(Pool([0.0] * Pool.SIZE))


def upstream(rule, usual=0.02, number=2):
    found = rule.upstreams[number] = Upstream.alone(number, f"up{number}:80")
    if usual:
        found.history.teach(usual)
    return found


def calls(up, *ages, now=NOW, **more):
    return [Call(up, now - age, place=n, **more) for n, age in enumerate(ages)]


def look_on(rule, threads, seconds=0.0, now=NOW):
    """Look every quarter of a second, for so long; return the last verdict."""
    for n in range(int(seconds * 4) + 1):
        verdict = rule.look(threads, now + n / 4)
    return verdict


@pytest.mark.parametrize(
    ("usual", "patience", "stuck"),
    [(0, 0, 3.0), (0, 60, 60), (0.02, 0, 1.0), (20.0, 0, 131.072), (0.02, 5, 5)],
)
def test_a_call_is_stuck_when_it_is_much_older_than_usual(rule, usual, patience, stuck):
    assert rule.stuck_after(upstream(rule, usual), patience) == stuck


def test_while_a_thread_is_idle_nothing_is_ended_or_refused(rule):
    up = upstream(rule)
    threads = Threads(8, *calls(up, *[20.0] * 7))
    verdict = look_on(rule, threads, 30)
    assert (verdict.ended, verdict.limited) == ([], [])
    assert rule.admits(up, threads, NOW)


@pytest.mark.parametrize(("threads", "ended"), [(8, True), (1, False)])
def test_while_no_request_waits_a_full_pool_is_left_alone_for_as_long_as_a_call_may_be_silent(
    rule, threads, ended
):
    up = upstream(rule)
    full = Threads(threads, *calls(up, *[9.0] * threads), queued=False)
    verdict = look_on(rule, full, constants.READ_TIMEOUT)
    assert (verdict.ended, verdict.limited) == ([], [])
    later = look_on(rule, full, 1, NOW + constants.READ_TIMEOUT)
    assert bool(later.ended) is ended


def test_what_happened_while_nobody_looked_does_not_count_as_a_full_pool(rule):
    full = Threads(8, *calls(upstream(rule), *[9.0] * 8), queued=False)
    rule.look(full, NOW)
    assert rule.look(full, NOW + 60).ended == []


def test_calls_that_are_young_are_not_ended_in_a_full_pool(rule):
    up = upstream(rule)
    verdict = rule.look(Threads(8, *calls(up, *[0.9] * 8)), NOW)
    assert (verdict.ended, verdict.limited) == ([], [])


def test_what_is_slow_by_nature_is_not_stuck(rule):
    up = upstream(rule, usual=20.0)
    threads = Threads(8, *calls(up, *[40.0] * 8))
    verdict = look_on(rule, threads, 30)
    assert (verdict.ended, verdict.limited) == ([], [])
    assert rule.admits(up, threads, NOW + 30)


def test_in_a_full_pool_the_youngest_stuck_calls_above_the_share_are_ended(rule):
    up = upstream(rule)
    held = calls(up, *[9.0 - n for n in range(8)])
    verdict = rule.look(Threads(8, *held), NOW)
    assert verdict.limited == [up]
    assert set(verdict.ended) == set(held[3:])  # the share, and of that one place for a probe


def test_only_calls_of_this_process_are_ended_here(rule):
    up = upstream(rule)
    others = calls(up, 9, 8, 7, 6, 5, mine=False)
    mine = [Call(up, NOW - 2, place=9), Call(up, NOW - 3, place=8), Call(up, NOW - 4, place=7)]
    verdict = rule.look(Threads(8, *others, *mine), NOW)
    assert set(verdict.ended) == set(mine)


def test_a_request_that_was_sent_and_is_not_idempotent_is_left_alone_for_longer(rule):
    up = upstream(rule)
    held = calls(up, *[4.0] * 8, patience=constants.UNSAFE)
    assert look_on(rule, Threads(8, *held)).ended == []
    assert rule.look(Threads(8, *calls(up, *[5.1] * 8, patience=constants.UNSAFE)), NOW).ended


def test_of_a_limited_upstream_the_oldest_call_stays_as_a_scout_and_one_place_is_a_probes(rule):
    up = upstream(rule)
    up.limit.limited_at = NOW - 60
    held = calls(up, 60, 1.5)
    assert rule.look(Threads(8, *held), NOW).ended == [held[1]]
    assert rule.admits(up, Threads(8, held[0]), NOW)
    assert not rule.admits(up, Threads(8, *held), NOW)
    assert up.limit.refused == 1


def test_the_cap_halves_by_the_clock_and_grows_with_fast_answers_in_a_row(rule):
    up = upstream(rule)
    up.limit.limited_at = NOW

    def cap(now):
        held = 0
        while rule.admits(up, Threads(16, *calls(up, *[0.0] * held)), now):
            held += 1
        return held

    assert [cap(NOW + n) for n in range(4)] == [8, 4, 2, 2]
    rule.pool.hungry_at = NOW + 60
    for _ in range(constants.RAMP):
        rule.answered(up, 0.02, NOW + 60)
    assert cap(NOW + 60) == 4


def test_twenty_fast_answers_lift_the_limit_and_one_does_not(rule):
    up = upstream(rule)
    up.limit.limited_at = rule.pool.hungry_at = NOW
    up.limit.bad = 1.0
    lifted = [rule.answered(up, 0.02, NOW + 1) for _ in range(constants.LIFT)]
    assert lifted == [False] * (constants.LIFT - 1) + [True]
    assert not up.limit.limited_at


def test_a_slow_answer_shows_that_it_lives_and_lets_it_use_what_is_idle_but_a_reserve(rule):
    up = upstream(rule)
    up.limit.limited_at = NOW - 60
    rule.answered(up, 3.0, NOW)
    held = calls(up, *[0.5] * 5)
    assert rule.admits(up, Threads(10, *held), NOW)
    assert not rule.admits(up, Threads(10, *held, working=3), NOW)


def test_a_limit_that_refuses_nobody_goes_where_answers_are_slow(rule):
    up = upstream(rule)
    up.limit.limited_at = NOW - 60
    rule.answered(up, 30.0, NOW)
    assert rule.look(Threads(8), NOW).lifted == [up]


@pytest.mark.parametrize("count", [2, 4])
def test_several_that_hang_together_leave_threads_to_others(rule, count):
    ups = [upstream(rule, number=2 + n) for n in range(count)]
    held = [Call(ups[n % count], NOW - 5 + n / 10, place=n) for n in range(8)]
    verdict = rule.look(Threads(8, *held), NOW)
    assert len(verdict.ended) >= 4
    rest = [call for call in held if call not in verdict.ended]
    ended = look_on(rule, Threads(8, *rest, working=8 - len(rest)), 3).ended
    assert len(rest) - len(ended) <= 8 - 8 // 5


def test_a_pool_of_one_thread_ends_what_hangs_and_alternates(rule):
    up = upstream(rule)
    verdict = rule.look(Threads(1, *calls(up, 1.2)), NOW)
    assert verdict.limited == [up]
    assert len(verdict.ended) == 1
    look_on(rule, Threads(1, working=1), 2, NOW + 0.25)
    assert rule.admits(up, Threads(1), NOW + 3)
    assert not rule.admits(up, Threads(1), NOW + 4)


def test_an_exempt_upstream_is_never_limited(rule):
    up = upstream(rule)
    up.exempt = True
    verdict = look_on(rule, Threads(8, *calls(up, *[20.0] * 8)), 10)
    assert (verdict.ended, verdict.limited) == ([], [])
    assert rule.admits(up, Threads(8, *calls(up, *[20.0] * 8)), NOW)


def test_a_share_that_was_set_holds_always(rule):
    up = upstream(rule)
    up.share = 0.25
    assert rule.admits(up, Threads(8, *calls(up, 0.1)), NOW)
    assert not rule.admits(up, Threads(8, *calls(up, 0.1, 0.1)), NOW)


def test_what_an_operator_has_limited_is_probed_once_a_second(rule):
    up = upstream(rule)
    up.limit.ordered_at = NOW - 5
    assert rule.admits(up, Threads(8), NOW)
    assert not rule.admits(up, Threads(8), NOW + 0.5)
    assert rule.admits(up, Threads(8), NOW + 1)
    assert not rule.admits(up, Threads(8, *calls(up, 1.0)), NOW + 5)


def test_usual_is_where_half_of_the_time_is_spent_not_half_of_the_calls(rule):
    up = upstream(rule, usual=0)
    for _ in range(98):
        rule.learn(up, 0.02)
    for _ in range(2):
        rule.learn(up, 6.0)
    up.history.close(NOW, counts=True)
    assert up.history.usual == pytest.approx(8.192)


def test_half_an_hour_is_not_outweighed_by_a_minute(rule):
    up = upstream(rule)
    for _ in range(100):
        rule.learn(up, 3.0)
    up.history.close(NOW, counts=True)
    assert up.history.usual < 0.1


def test_a_slow_answer_speaks_for_the_calls_that_were_ended(rule):
    up = upstream(rule)
    for _ in range(9):
        rule.failed(up, ended=True)
    assert rule.weight(up, 2.0) == 20.0
    assert up.limit.ended == 9


def test_windows_grow_to_a_minute_and_one_without_answers_counts_for_nothing():
    history = Upstream.alone(2).history
    lengths = []
    for _ in range(9):
        history.close(NOW, counts=True)
        lengths.append(history.length)
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert not history.usual
    assert bucket_of(1e9) == History.BUCKETS - 1


def test_pressure_is_shared_and_rises_and_falls_within_a_second(rule):
    look_on(rule, Threads(2, working=2), 2)
    assert rule.pool.pressure > 0.8
    look_on(rule, Threads(2), 2, NOW + 2.25)
    assert rule.pool.pressure < 0.2


def test_the_first_answer_of_an_unknown_upstream_lifts_what_was_limited_by_a_guess(rule):
    up = upstream(rule, usual=0)
    full = Threads(8, *calls(up, *[4.0] * 8))
    assert look_on(rule, full, 1).limited == []  # it was at the first look
    assert up.limit.limited_at
    rule.learn(up, 9.0)
    rule.answered(up, 9.0, NOW + 5)
    verdict = rule.look(full, NOW + 5.25)
    assert (verdict.lifted, verdict.ended) == ([up], [])
    assert rule.stuck_after(up) > 36
    assert look_on(rule, full, 10, NOW + 5.5).limited == []


def test_calls_look_older_than_they_are_to_a_process_that_had_no_cpu(rule):
    up = upstream(rule)
    held = calls(up, *[1.6] * 8)
    rule.late = 0.7
    assert rule.look(Threads(8, *held), NOW).ended == []
    rule.late = 0.0
    assert rule.look(Threads(8, *held), NOW).ended
