"""Readiness checks: run off the request path, their answers kept, each bounded in time."""

from __future__ import annotations

import os
import threading

import pytest

from lab.processes import wait_until
from resilient_wsgi import readiness
from resilient_wsgi.readiness import checks
from resilient_wsgi.readiness.checks import NOT_YET, Check
from resilient_wsgi.testing import FakeClock


def boom():
    raise OSError("no route")


def answer(value):
    made = Check(lambda: value, "test", 1.0, 10.0)
    made.run()
    return made.problem()


@pytest.mark.parametrize("value", [None, True])
def test_a_check_that_returns_none_or_true_is_ready(value):
    assert answer(value) == ""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (False, "failed"),
        ("", "failed"),
        ("cold", "cold"),
        (42, "returned 42"),
        ([], "returned []"),
        (0, "returned 0"),
    ],
)
def test_anything_else_is_not_ready_and_says_why(value, problem):
    assert problem in answer(value)


def test_a_check_that_raises_is_not_ready_and_says_what():
    made = Check(boom, "test", 1.0, 10.0)
    made.run()
    assert made.problem() == "OSError: no route"


def test_a_check_that_hangs_is_not_ready_while_the_others_run():
    release = threading.Event()
    clock = FakeClock()
    hanging = Check(release.wait, "hanging", 2.0, 10.0, clock)
    quick = Check(lambda: True, "quick", 2.0, 10.0, clock)
    try:
        hanging.start()
        quick.start()
        assert wait_until(
            lambda: hanging._runs.get().began is not None and quick.problem() == "", 5
        )
        assert hanging.problem() == NOT_YET
        clock.advance(2.1)
        assert hanging.problem() == "takes longer than 2 s"
        assert quick.problem() == ""
    finally:
        release.set()
        hanging.stop()
        quick.stop()


def test_after_a_fork_no_answer_of_the_parent_counts():
    made = Check(lambda: True, "test", 1.0, 10.0)
    made.run()
    child = os.fork()
    if child == 0:
        os._exit(made.problem() == NOT_YET)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert made.problem() == ""


@pytest.fixture
def named():
    yield "a test's own"
    checks.forget("a test's own")


def test_a_check_is_registered_under_its_name_and_replaced_by_a_later_one(named):
    assert readiness.check(name=named)(boom) is boom
    readiness.check(name=named)(lambda: True)
    assert [name for name, _ in checks.problems()].count(named) == 1
    checks.start()
    assert wait_until(lambda: dict(checks.problems())[named] == "", 5)


async def coroutine():
    return True


@pytest.mark.parametrize("wrong", [coroutine, "text", 42])
def test_what_cannot_be_called_without_a_loop_is_refused(wrong):
    with pytest.raises(TypeError, match="plain function"):
        readiness.check(name="wrong")(wrong)


@pytest.mark.parametrize("times", [{"timeout": 0}, {"interval": -1}, {"timeout": float("nan")}])
def test_times_that_are_not_above_zero_are_refused(times):
    with pytest.raises(ValueError, match="above 0"):
        readiness.check(name="wrong", **times)(boom)
