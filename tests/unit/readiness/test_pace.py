"""When a worker that failed may try again."""

from __future__ import annotations

import contextlib
import os

import pytest

from resilient_wsgi.readiness import pace
from resilient_wsgi.readiness.board import FAILED, LOADING, PAUSING, SERVING, Board, Slot
from resilient_wsgi.settings import Readiness


@pytest.fixture
def make_board():
    made = []

    def make(workers):
        made.append(Board(workers))
        return made[-1]

    yield make
    for board in made:
        with contextlib.suppress(OSError):
            board.close()


def master_sleeps(respawns, workers):
    """Count as core/master.c does: how often the master goes to sleep over respawns at these times, after a start at 0."""
    last, rate, slept = 0, 0, 0
    for time in respawns:
        rate = rate + 1 if int(time) <= last + 1 else 0
        if rate > workers:
            slept, rate = slept + 1, 0
        last = int(time)
    return slept


@pytest.mark.parametrize("failures", [1, 2, 5, 400])
def test_the_pause_doubles_up_to_its_bound_with_a_little_chance(failures):
    options = Readiness(first_pause=1.0, max_pause=30.0)
    bound = min(30.0, 2.0 ** (failures - 1))
    pauses = {pace.pause(failures, options) for _ in range(50)}
    assert all(bound * 0.8 <= pause <= bound for pause in pauses)
    assert len(pauses) > 1


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_workers_that_all_fail_at_once_for_ever_never_put_the_master_to_sleep(workers, make_board, monkeypatch):
    monkeypatch.setattr(Slot, "alive", lambda slot: slot.state != FAILED)
    board = make_board(workers)
    slots = [board.slot(number) for number in range(1, workers + 1)]
    now, respawns = 0.0, []
    for pid, slot in enumerate(slots, 1):
        slot.pid, slot.state = pid, LOADING
        pace.note_spawn(board, slot, now)
    next_try = dict.fromkeys(range(workers), 0.1)
    while now < 60:
        now += 0.05
        for number, slot in enumerate(slots):
            if slot.state == FAILED and now >= slot.since + 0.3 * (number % 3):  # the master looks when it looks
                respawns.append(now)
                pace.note_spawn(board, slot, now)
                slot.state, next_try[number] = PAUSING, now + 0.5
            elif slot.state == LOADING and now >= next_try[number]:
                slot.state, slot.since, slot.failures = FAILED, now, slot.failures + 1
            elif slot.state == PAUSING and now >= next_try[number] and not pace.hold(board, slot, now):
                slot.state, next_try[number] = LOADING, now + 0.1
    assert len(respawns) > workers * 3
    assert master_sleeps(respawns, workers) == 0


def test_a_worker_among_healthy_ones_need_not_hold(make_board, monkeypatch):
    monkeypatch.setattr(Slot, "alive", lambda _slot: True)
    board = make_board(4)
    for number in range(1, 5):
        slot = board.slot(number)
        slot.pid, slot.state = number, SERVING
        pace.note_spawn(board, slot, 0.0)
    pace.note_spawn(board, board.slot(4), 5.0)
    assert pace.hold(board, board.slot(4), 5.5) == 0


def test_what_is_written_by_a_child_is_read_by_its_parent_and_the_lock_opens_when_its_holder_dies(make_board):
    board = make_board(2)
    child = os.fork()
    if child == 0:
        board._try(2)  # LOCK_EX, never given back
        board.slot(2).error = "ImportError: é" + "x" * 500
        board.slot(2).failures = 7
        os._exit(0)
    os.waitpid(child, 0)
    with board.lock():
        assert board.slot(2).failures == 7
        assert board.slot(2).error.startswith("ImportError: é")
        assert board.slot(1).failures == 0


def test_the_board_does_without_its_descriptor_if_somebody_closed_it(make_board):
    board = make_board(1)
    os.close(board._fd)
    with board.lock():
        board.slot(1).failures = 1
    assert board.slot(1).failures == 1
