"""`load()` in a worker of gunicorn: what it claims, how it pauses, when it gives up."""

from __future__ import annotations

import os

import pytest

from resilient_wsgi import events, servers
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.readiness import gunicorn_worker
from resilient_wsgi.readiness.load_policy import KILLED
from resilient_wsgi.readiness.states import FAILED, LOADING, SERVING
from resilient_wsgi.servers.base import WORKER, Identity, Server
from resilient_wsgi.servers.gunicorn import Boot
from resilient_wsgi.settings.options import OFF, Readiness
from resilient_wsgi.shm import scoreboard
from resilient_wsgi.shm.layout import Geometry
from resilient_wsgi.shm.scoreboard import Scoreboard
from resilient_wsgi.testing import FakeClock

DEAD = 2**22 + 1
OPTIONS = Readiness(first_pause=2.0, attempts=2)


class Exited(BaseException):
    """The process would have ended."""


class Process(FakeClock):
    """A clock that moves when somebody sleeps, and a process that ends by an exception."""

    def exit(self, code):
        raise Exited(code)


class Arbitrated(Server):
    def identity(self):
        return Identity(WORKER, 0, os.getpid(), os.getppid())


class Load:
    """A load in this process, which stands for a worker, with a scoreboard of three rows."""

    def __init__(self, board):
        self.board = board
        self.system = Process()
        self.notified = 0
        self.wanted = True
        self.boot = Boot(1, 7, 2, 29, self.notify, lambda: self.wanted)

    def notify(self):
        self.notified += 1

    def run(self, find, options=OPTIONS):
        return gunicorn_worker.load(find, self.boot, options, self.system)


@pytest.fixture
def load(monkeypatch):
    servers.use(Arbitrated())
    board = scoreboard._without_name(Geometry(0, 3, 1), "a test")
    monkeypatch.setattr(Scoreboard, "of_this_instance", staticmethod(lambda: board))
    yield Load(board)
    servers.use(None)


def leave_behind(row, **fields):
    """Have a row be that of a worker that is dead."""
    for name, value in {"pid": DEAD, "spawns": 1, **fields}.items():
        setattr(row, name, value)


def fail():
    raise ImportError("no_such")


def test_a_load_that_goes_well_needs_no_pause_and_is_remembered(load, seen):
    assert load.run(lambda: "app") == "app"
    row = load.board.mine()
    assert (row.state, row.spawns, row.failures, load.notified) == (SERVING, 1, 0, 0)
    assert load.board.header.ever_served
    assert not seen


def test_a_load_that_fails_ends_the_worker_and_the_successor_pauses_before_its_own(
    load, seen, capsys
):
    with pytest.raises(Exited, match="29"):
        load.run(fail)
    assert "Traceback" in capsys.readouterr().err
    assert [(event.worker, event.attempt, event.error) for event in seen] == [
        (1, 1, "ImportError: no_such")
    ]
    began = load.system.monotonic()
    assert load.run(lambda: "app") == "app"
    assert 1.6 <= load.system.monotonic() - began <= 2.5
    assert load.notified >= 3
    assert isinstance(seen[-1], events.WorkerLoaded)


def test_a_worker_that_is_told_to_end_does_not_pause_to_the_end(load):
    with pytest.raises(Exited):
        load.run(fail)
    load.wanted = False
    with pytest.raises(Exited, match="29"):
        load.run(lambda: "app")
    assert load.notified == 0


def test_the_successors_of_loads_that_were_killed_report_them_once_each(load, seen):
    rows = [load.board.row(n) for n in range(3)]
    leave_behind(rows[0], state=SERVING)
    for row in rows[1:]:
        leave_behind(row, state=LOADING, since=load.system.monotonic())
    for _ in range(3):
        assert load.run(lambda: "app") == "app"
        load.board.mine().pid = DEAD
        load.board._mine.clear()  # the next one is another process
    failed = [event for event in seen if isinstance(event, events.LoadFailed)]
    assert [(event.worker, event.error) for event in failed] == [(2, KILLED), (3, KILLED)]


def test_the_exception_is_raised_when_no_worker_ever_loaded_and_all_have_tried_often_enough(load):
    leave_behind(load.board.row(1), state=FAILED, failures=2, pid=os.getppid(), started=0)
    load.board.row(1).started = scoreboard.procfs.start(os.getppid())
    with pytest.raises(Exited):
        load.run(fail)
    with pytest.raises(ImportError):
        load.run(fail)
    with pytest.raises(Exited):  # one of them is enough
        load.run(fail)
    load.board.header.ever_served = 1
    with pytest.raises(Exited):
        load.run(fail)


def test_a_syntax_error_is_shown_to_a_developer(load):
    def broken():
        raise SyntaxError("x")

    load.boot = Boot(1, 7, 2, 29, load.notify, lambda: True, shows_syntax_errors=True)
    with pytest.raises(SyntaxError):
        load.run(broken)
    assert load.board.mine().failures == 0


@pytest.mark.parametrize("options", [OPTIONS, Readiness(mode=OFF)])
def test_without_a_scoreboard_and_switched_off_what_is_raised_comes_out(load, monkeypatch, options):
    def unavailable():
        raise Unavailable("no folder")

    monkeypatch.setattr(Scoreboard, "of_this_instance", staticmethod(unavailable))
    with pytest.raises(ImportError):
        load.run(fail, options)
    assert load.run(lambda: "app", options) == "app"
