"""When a worker whose load failed may try again, and when no worker may: decided from the board."""

from __future__ import annotations

import os
import signal

import pytest

from resilient_wsgi import events
from resilient_wsgi.events.lifecycle import LAST, PAUSED, WAITS
from resilient_wsgi.readiness.load_policy import KILLED, WORKER_LIMIT, LoadPolicy
from resilient_wsgi.readiness.states import LOADING, PAUSING, SERVING, STARTED
from resilient_wsgi.settings.options import Readiness
from resilient_wsgi.testing import FakeClock
from tests.scoreboards import in_memory


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def board():
    """The board of two workers that have been started."""
    board = in_memory(2)
    for row in board.workers:
        row.spawns = 1
    return board


def policy(board, clock, *, respawns=True, chance=0.0, **options):
    settings = Readiness(**options)
    return LoadPolicy(
        board,
        settings,
        respawns=lambda: respawns,
        clock=clock.monotonic,
        chance=lambda: chance,
    )


@pytest.mark.parametrize("failures", [1, 2, 5, 400])
def test_the_pause_doubles_up_to_its_bound_with_a_little_chance(board, failures):
    options = Readiness(first_pause=1.0, max_pause=30.0)
    bound = min(30.0, 2.0 ** (failures - 1))
    pauses = {LoadPolicy(board, options).pause(failures) for _ in range(50)}
    assert all(bound * 0.8 <= pause <= bound for pause in pauses)
    assert len(pauses) > 1


def test_a_load_in_a_worker_is_limited_unless_that_is_switched_off(board, clock):
    limits = [policy(board, clock, startup_timeout=limit).limit() for limit in ("auto", None, 7)]
    assert limits == [WORKER_LIMIT, 0, 7]


def test_a_failure_is_logged_counted_and_paced(board, clock, seen):
    row = board.worker(1)
    decides = policy(board, clock, first_pause=1.0, max_pause=3.0)
    for attempt, pause in ((1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0)):
        assert not decides.failed(row, 1, "ImportError: x\ny")
        assert (row.failures, row.state, row.error) == (attempt, PAUSING, r"ImportError: x\ny")
        assert decides.pause_left(row) == pause
        assert (seen[-1].worker, seen[-1].attempt, seen[-1].pause) == (1, attempt, pause)
        clock.advance(pause)
        assert decides.pause_left(row) == 0


def test_a_failure_is_logged_before_it_is_counted(board, clock):
    row, counted = board.worker(1), []
    unsubscribe = events.subscribe(lambda _: counted.append(row.failures))
    policy(board, clock).failed(row, 1, "x")
    unsubscribe()
    assert counted == [0]


def test_it_is_hopeless_when_no_worker_ever_had_an_app_and_all_have_tried_often_enough(
    board, clock
):
    decides, (mine, other) = policy(board, clock, attempts=2), board.workers
    assert [decides.failed(mine, 1, "x"), decides.failed(other, 2, "x")] == [False, False]
    assert not decides.failed(mine, 1, "x")
    assert decides.failed(other, 2, "x")
    board.header.ever_served = 1
    assert not decides.failed(mine, 1, "x")


def test_where_it_is_known_how_many_workers_there_are_one_alone_cannot_tell_that_it_is_hopeless(
    clock,
):
    board = in_memory(2)
    decides = LoadPolicy(board, Readiness(attempts=1), workers=2, clock=clock.monotonic)
    mine, other = board.workers
    mine.spawns = 1
    assert not decides.failed(mine, 1, "x")
    other.spawns = 1
    assert decides.failed(other, 2, "x")


def test_without_a_successor_the_first_failure_is_the_last(board, clock):
    assert policy(board, clock, respawns=False).failed(board.worker(1), 1, "x")


def test_what_is_said_of_the_next_attempt_is_what_will_be(board, clock):
    decides, (mine, other) = policy(board, clock, attempts=3), board.workers
    other.failures = 2
    assert [decides.next_try(mine, failures) for failures in (1, 2, 3)] == [PAUSED, PAUSED, WAITS]
    other.failures = 3
    assert decides.next_try(mine, 3) == LAST


@pytest.mark.parametrize("state", [STARTED, PAUSING, SERVING])
def test_a_predecessor_that_did_not_load_was_not_killed_in_its_load(board, clock, state):
    row = board.worker(1)
    row.state, row.ready, row.degraded = state, 1, "no app for /x"
    assert policy(board, clock).begin(row) == ""
    assert (row.spawns, row.state, row.ready, row.degraded) == (2, STARTED, 0, "")


def test_how_a_load_was_killed_is_told_from_what_it_left(board, clock):
    row, decides = board.worker(1), policy(board, clock, startup_timeout=5)
    decides.enter(row, LOADING)
    assert decides.begin(row) == KILLED
    decides.enter(row, LOADING)
    clock.advance(5)
    assert decides.begin(row) == "its load took longer than 5 s and was ended"
    decides.enter(row, LOADING)
    row.crash = signal.SIGSEGV
    assert decides.begin(row) == "its load crashed: SIGSEGV"
    assert row.crash == 0


def test_a_load_that_succeeds_forgets_the_failures_and_is_remembered(board, clock, seen):
    row, decides = board.worker(1), policy(board, clock)
    decides.failed(row, 1, "x")
    board.header.failed_loads = 2
    decides.loaded(row, 1)
    decides.loaded(row, 1)
    assert board.header.failed_loads == 0
    assert (row.failures, decides.pause_left(row)) == (0, 0)
    assert (board.header.served, board.header.ever_served) == (1, 1)
    assert [str(event) for event in seen if type(event) is events.WorkerLoaded] == [
        "worker 1 has its app again, after 1 failed loads"
    ]


def test_what_is_written_by_a_child_is_read_by_its_parent_and_the_lock_opens_when_its_holder_dies(
    board,
):
    child = os.fork()
    if child == 0:
        board.lock().__enter__()  # never given back
        board.worker(2).error = "ImportError: é" + "x" * 500
        board.worker(2).failures = 7
        os._exit(0)
    os.waitpid(child, 0)
    with board.lock():
        assert board.worker(2).failures == 7
        assert board.worker(2).error.startswith("ImportError: é")
        assert board.worker(1).failures == 0


def test_the_board_does_without_its_descriptor_if_somebody_closed_it(board):
    os.close(board._fd)
    with board.lock():
        board.worker(1).failures = 1
    assert board.worker(1).failures == 1
