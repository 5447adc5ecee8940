"""Deadlines: the one notion that inbound and outbound share."""

from __future__ import annotations

import threading

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.core.system import System
from resilient_wsgi.deadline import Deadline, limit
from resilient_wsgi.errors import DeadlineExceeded


class Clock(System):
    def __init__(self, now=100.0):
        self.now = now

    def monotonic(self):
        return self.now


def test_outside_of_a_limit_there_is_no_deadline():
    assert deadline.current() is None
    assert deadline.remaining() is None


def test_a_deadline_counts_down_and_then_raises():
    clock = Clock()
    mine = Deadline.after(5, "a test", clock)
    clock.now += 4
    assert mine.remaining() == 1
    mine.check()
    clock.now += 1
    with pytest.raises(
        DeadlineExceeded, match=r"no time left for the upload: limit 5 s \(a test\)"
    ):
        mine.check("the upload")


def test_remaining_is_never_negative():
    with limit(0):
        assert deadline.remaining() == 0


def test_an_inner_limit_shortens_and_never_extends():
    with limit(5) as outer:
        with limit(1) as inner:
            assert inner.at < outer.at
            with limit(100) as longer:
                assert longer is inner
        assert deadline.current() is outer


def test_a_limit_left_by_an_exception_restores():
    with pytest.raises(KeyError), limit(1):
        raise KeyError
    assert deadline.current() is None


def test_a_decorated_function_has_its_own_limit_in_each_call():
    seen = []

    @limit(7)
    def work(depth):
        seen.append(deadline.current())
        if depth:
            work(depth - 1)
            assert deadline.current() is seen[-2]

    work(1)
    assert deadline.current() is None
    assert [d.limit for d in seen] == [7, 7]


def test_a_limit_holds_in_its_own_thread_only():
    seen = []
    with limit(1):
        thread = threading.Thread(target=lambda: seen.append(deadline.current()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_negative_time_is_a_clear_error(seconds):
    with pytest.raises(ValueError, match=r"deadline must be >= 0 seconds, got (-1|nan)"):
        limit(seconds)


def test_a_coroutine_function_cannot_be_decorated():
    async def work():
        pass

    with pytest.raises(TypeError, match="runs after the call"):
        limit(1)(work)


def test_repr_tells_who_set_it():
    assert (
        repr(Deadline.after(5, "harakiri", Clock()))
        == "<Deadline in 5.000 s, limit 5 s (harakiri)>"
    )
