"""When a worker that failed may try again, and where that is kept."""

from __future__ import annotations

import contextlib
import os

import pytest

from resilient_wsgi.readiness import pace
from resilient_wsgi.readiness.board import Board
from resilient_wsgi.settings.options import Readiness


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


@pytest.mark.parametrize("failures", [1, 2, 5, 400])
def test_the_pause_doubles_up_to_its_bound_with_a_little_chance(failures):
    options = Readiness(first_pause=1.0, max_pause=30.0)
    bound = min(30.0, 2.0 ** (failures - 1))
    pauses = {pace.pause(failures, options) for _ in range(50)}
    assert all(bound * 0.8 <= pause <= bound for pause in pauses)
    assert len(pauses) > 1


def test_what_is_written_by_a_child_is_read_by_its_parent_and_the_lock_opens_when_its_holder_dies(
    make_board,
):
    board = make_board(2)
    child = os.fork()
    if child == 0:
        board.lock().__enter__()  # never given back
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
