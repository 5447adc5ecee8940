"""The component, in a worker that a test plays."""

from __future__ import annotations

import pytest

import resilient_wsgi
from resilient_wsgi.bulkhead.component import Bulkhead
from resilient_wsgi.component import Context
from resilient_wsgi.deadline import Deadline
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.servers.base import WORKER, Identity, Server
from resilient_wsgi.settings import options as settings
from resilient_wsgi.shm import scoreboard
from resilient_wsgi.upstream import meeting
from tests.scoreboards import in_memory


class Worker(Server):
    name = "uwsgi"

    def identity(self):
        return Identity(WORKER, 1, 4242, 4241)

    def forked_by_app(self):
        return False


@pytest.fixture
def bulkhead(monkeypatch):
    board = in_memory(2)
    board._mine.set(board.worker(1))
    monkeypatch.setattr(scoreboard.Scoreboard, "of_this_instance", staticmethod(lambda: board))
    made = Bulkhead(Context("bulkhead", server=Worker()))
    yield made
    made.uninstall()
    assert meeting.gate is None
    assert meeting.look is None


def test_it_begins_when_the_worker_serves_and_ends_with_uninstall(bulkhead):
    bulkhead.install(settings.Bulkhead())
    assert meeting.gate is None
    bulkhead.context.server.ready()
    assert meeting.gate is not None
    assert "share" in bulkhead.status()[0]
    bulkhead.uninstall()
    assert meeting.gate is None
    bulkhead.install(settings.Bulkhead(share=0.3))
    assert meeting.gate is not None


@pytest.mark.parametrize("error", [Unavailable("no directory"), OSError(28, "No space left")])
def test_without_room_in_shared_memory_the_service_goes_on_without_it(
    bulkhead, monkeypatch, error, caplog
):
    def fail():
        raise error

    monkeypatch.setattr(scoreboard.Scoreboard, "of_this_instance", staticmethod(fail))
    bulkhead.install(settings.Bulkhead())
    bulkhead.context.server.ready()
    assert meeting.gate is None
    assert str(error) in bulkhead.status()[0]
    assert str(error) in caplog.text


def test_a_look_that_comes_late_while_requests_run_says_for_how_long_there_was_no_cpu(bulkhead):
    bulkhead.install(settings.Bulkhead())
    bulkhead.context.server.ready()
    share, request = bulkhead._shares.peek(), Deadline(9.0, 9.0, "a test")
    share.look(100.0, [(1, request)])
    assert share.rule.late == 0
    share.look(102.0, [(1, request)])
    assert share.rule.late == 1.5
    share.look(102.25, [])
    assert share.rule.late == 0.75
    share.look(200.0, [])  # it rested
    assert share.rule.late == 0.375


def test_memory_that_cannot_be_locked_is_no_place_for_it(bulkhead, monkeypatch, caplog):
    board = scoreboard.Scoreboard.of_this_instance()
    board._fd, board._identity, board.why_not_visible = -1, None, "no room in /dev/shm"
    bulkhead.install(settings.Bulkhead())
    bulkhead.context.server.ready()
    assert meeting.gate is None
    assert bulkhead.status() == ("nothing is limited: no room in /dev/shm",)
    assert "[RW113] no upstream is limited: no room in /dev/shm" in caplog.text


def test_a_script_has_no_share():
    made = Bulkhead(Context("bulkhead"))
    made.install(settings.Bulkhead())
    made.context.server.ready()
    assert meeting.gate is None
    made.uninstall()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"OUTBOUND": "off"}, "OUTBOUND.MODE is off"),
        ({"OUTBOUND": "report"}, "OUTBOUND.MODE is report"),
        ({"OUTBOUND": "report", "BULKHEAD": "report"}, ""),
        ({"REQUEST": "off"}, "REQUEST.MODE is off"),
        ({"REQUEST": {"RECORD": False}}, "REQUEST.RECORD"),
    ],
)
def test_it_says_what_it_needs_of_other_sections(given, missing):
    def status():
        return next(each for each in installation.status() if each.name == "bulkhead")

    installation = resilient_wsgi.install(given)
    try:
        assert status().on is not bool(missing)
        assert missing in status().why_not
        resilient_wsgi.install({})
        assert status().on
    finally:
        installation.uninstall()
