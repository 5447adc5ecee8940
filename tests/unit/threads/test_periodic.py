"""Periodic work: on a grid, without drift or pile, with jitter and back-off."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, strategies as st

from resilient_wsgi.events import ThreadFailed
from resilient_wsgi.threads import every, registry
from resilient_wsgi.threads.periodic import Schedule


def schedule(seconds=10.0, jitter=0.0, max_pause=80.0, rand=lambda: 1.0):
    return Schedule(seconds, jitter, max_pause, rand)


def test_the_first_run_is_after_the_interval_or_at_once():
    assert schedule().begin(100.0, immediately=False) == 10.0
    assert schedule().begin(100.0, immediately=True) == 0.0


def test_the_time_a_run_takes_does_not_move_the_next():
    plan = schedule()
    plan.begin(100.0, immediately=False)
    assert plan.after(113.0, failed=False) == 7.0  # due at 110, ended at 113: the next is at 120


def test_runs_that_were_missed_are_left_out():
    plan = schedule()
    plan.begin(100.0, immediately=False)
    assert plan.after(147.0, failed=False) == 3.0  # 120, 130 and 140 are gone
    assert plan.after(151.0, failed=False) == 9.0


def test_jitter_delays_a_run_and_does_not_move_the_grid():
    plan = schedule(jitter=2.0)
    assert plan.begin(100.0, immediately=False) == 12.0
    assert plan.after(112.0, failed=False) == 10.0  # at 120, and 2 more


def test_after_failures_the_pause_doubles_up_to_its_limit_and_success_ends_it():
    plan = schedule(max_pause=50.0)
    now = 100.0 + plan.begin(100.0, immediately=False)
    pauses = []
    for _ in range(5):
        pauses.append(plan.after(now, failed=True))
        now += pauses[-1]
    assert pauses == [10.0, 20.0, 40.0, 50.0, 50.0]
    assert plan.after(now, failed=False) <= 10.0


def test_thousands_of_failures_do_not_overflow():
    plan = schedule()
    now = 0.0
    for _ in range(5000):
        now += plan.after(now, failed=True)
    assert plan.after(now, failed=True) == 80.0


@given(
    seconds=st.floats(0.01, 1e4),
    took=st.lists(st.tuples(st.floats(0, 1e5), st.booleans()), min_size=1, max_size=20),
)
def test_there_is_never_a_run_before_its_time_nor_two_at_once(seconds, took):
    plan = Schedule(seconds, 0.0, 8 * seconds)
    now = begin = 1000.0
    now += plan.begin(now, immediately=False)
    for duration, failed in took:
        now += duration
        pause = plan.after(now, failed=failed)
        assert pause >= 0
        now += pause
    assert now >= begin + seconds * (len(took) + 1) * 0.999999


def test_the_function_runs_again_and_again_until_the_stop_and_is_returned_as_it_is():
    runs = threading.Semaphore(0)

    @every(0.01, name="counter")
    def work():
        runs.release()

    for _ in range(3):
        assert runs.acquire(timeout=5)
    registry["counter"].stop()
    assert registry["counter"].join(5)
    work()


def test_the_stop_ends_a_long_pause_at_once():
    every(3600, name="hourly")(int)
    registry["hourly"].stop()
    assert registry["hourly"].join(5)


def test_an_error_is_told_and_the_work_goes_on(happened, caplog):
    runs = []
    twice = threading.Event()

    @every(0.01, immediately=True, name="shaky")
    def work():
        runs.append(1)
        if len(runs) == 1:
            raise KeyError("gone")
        twice.set()

    assert twice.wait(5)
    assert [e for e in happened if isinstance(e, ThreadFailed)] == [
        ThreadFailed("shaky", "KeyError: 'gone'")
    ]
    assert "Traceback" in caplog.text


def test_with_the_policy_stop_the_first_error_ends_it(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    @every(0.01, on_error="stop", name="strict")
    def work():
        raise KeyError("gone")

    assert registry["strict"].join(5)
    assert registry["strict"].outcome == "failed: KeyError: 'gone'"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", None, True])
def test_an_interval_that_is_none_is_an_error(seconds):
    with pytest.raises(ValueError, match="the interval is a number of seconds, above 0; got"):
        every(seconds)


@pytest.mark.parametrize("option", [{"jitter": -1}, {"max_pause": -1}, {"on_error": "explode"}])
def test_options_that_are_wrong_are_errors(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        every(5, **option)


def test_decorating_what_cannot_be_called_is_an_error():
    with pytest.raises(TypeError, match="decorates a function; got 5"):
        every(5)(5)
    assert len(registry) == 0
