"""The exec probe and drain: what they say of a scoreboard, found by the pid of its process."""

from __future__ import annotations

import argparse
import json
import os
import time

import pytest

from resilient_wsgi.cli import drain, ready
from resilient_wsgi.cli.target import CannotLook
from resilient_wsgi.host import procfs
from resilient_wsgi.readiness.states import DRAINED, PAUSING, SERVING
from tests.scoreboards import of_this_process


@pytest.fixture
def board():
    """A board of two workers (this process stands for both), found by this process's own pid."""
    with of_this_process(2) as made:
        for row in made.workers:
            row.pid, row.started = os.getpid(), procfs.start(os.getpid())
            row.spawns, row.state, row.ready, row.checked_at = 1, SERVING, 1, time.monotonic()
        yield made


def ask(verb, *arguments):
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args(arguments))


@pytest.fixture
def pid(board):
    return (str(os.getpid()),)


def test_it_is_ready_while_enough_workers_are(board, pid, capsys):
    assert ask(ready, *pid) == 0
    board.worker(2).state, board.worker(2).error = PAUSING, "ImportError: x"
    assert ask(ready, *pid) == 0
    assert ask(ready, *pid, "--workers", "2") == 1
    assert "worker 2" in capsys.readouterr().out


def test_a_worker_that_is_stuck_or_gone_or_says_no_does_not_count(board, pid):
    board.worker(1).checked_at -= 100
    board.worker(2).ready = 0
    assert ask(ready, *pid) == 1
    board.worker(2).ready, board.worker(2).pid = 1, 2**22 + 1
    assert ask(ready, *pid) == 1


def test_it_says_it_as_json(board, pid, capsys):
    board.worker(2).problem, board.worker(2).ready = "cache: cold", 0
    assert ask(ready, *pid, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "ready"
    assert [each["why"] for each in said["workers"]] == ["", "cache: cold"]


def test_a_pidfile_is_read(board, tmp_path):
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    assert ask(ready, "--pidfile", str(path), "--live") == 0


@pytest.mark.parametrize("text", ["", "not a pid"])
def test_a_pidfile_with_something_else_is_an_error(tmp_path, text):
    path = tmp_path / "pid"
    path.write_text(text)
    with pytest.raises(CannotLook, match="not a pid"):
        ask(ready, "--pidfile", str(path))


def test_a_process_that_is_not_there_or_has_no_board_is_an_error():
    with pytest.raises(CannotLook, match="there is no process"):
        ask(ready, str(2**22 + 1))
    with pytest.raises(CannotLook, match=r"runs no instance|no permission"):
        ask(ready, "1")


def test_draining_is_not_ready_and_drain_waits_for_the_workers(board, pid):
    assert ask(drain, *pid, "--timeout", "0.2") == 1
    assert board.header.draining
    assert ask(ready, *pid) == 1
    for number in (1, 2):
        board.worker(number).state = DRAINED
    assert ask(drain, *pid) == 0
