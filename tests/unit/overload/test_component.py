"""The component: what it says, and that it can be taken away and put back."""

from __future__ import annotations

import pytest

from resilient_wsgi.component import Context
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.overload import component as module
from resilient_wsgi.overload.component import BLIND, Overload
from resilient_wsgi.overload.queue import Queue
from resilient_wsgi.overload.state import LIMIT, SHED, TOLERATED, State
from resilient_wsgi.servers import Server
from resilient_wsgi.servers.facts import Connections
from resilient_wsgi.settings import options as settings


class Seeing(Connections):
    blind = False

    def hides_hang_ups(self):
        return self.blind


class Worker(Server):
    name = "uwsgi"

    def __init__(self):
        super().__init__()
        self.connections = Seeing()


@pytest.fixture
def overload(monkeypatch):
    made = Overload(Context("overload", server=Worker()))
    queue = Queue(State.alone(), lambda: 0, lambda: False)
    monkeypatch.setattr(module.Overload, "_queue", lambda self: queue)
    made.queue = queue
    return made


def test_it_has_a_part_in_the_queue_as_soon_as_its_worker_serves(overload):
    overload.install(settings.Overload())
    overload.layer(settings.Overload())
    shared = overload._shared
    assert shared.queue is None
    overload.context.server.ready()
    assert shared.queue is overload.queue
    overload.uninstall()
    assert shared.queue is None
    overload.install(settings.Overload())
    assert shared.queue is overload.queue


def test_without_a_scoreboard_the_service_goes_on_without(overload, monkeypatch):
    def missing(self):
        msg = "no directory"
        raise Unavailable(msg)

    monkeypatch.setattr(module.Overload, "_queue", missing)
    overload.install(settings.Overload())
    overload.layer(settings.Overload())
    overload.context.server.ready()
    assert overload._shared.queue is None
    assert "the listen queue is not measured: no directory" in overload.status()


def test_status_says_what_is_tolerated(overload):
    overload.install(settings.Overload())
    overload.layer(settings.Overload())
    overload.context.server.ready()
    assert "tolerated wait: not known" in overload.status()
    cells = overload.queue.state.cells
    cells[TOLERATED], cells[LIMIT], cells[SHED] = 1.8, 0.6, 7
    lines = overload.status()
    assert "tolerated wait: 1.80 s" in lines
    assert "overloaded: requests that waited over 0.60 s are shed" in lines
    assert "7 requests shed in this overload" in lines


def test_it_says_where_no_client_can_be_seen_to_hang_up(overload):
    overload.context.server.connections.blind = True
    overload.install(settings.Overload())
    overload.context.server.ready()
    assert BLIND in overload.status()
    overload.settings = settings.Settings(request=settings.Request(client_gone=True))
    assert BLIND not in overload.status()


def test_where_it_is_off_and_nothing_asks_for_waits_apps_stay_as_they_are(overload):
    assert overload.layer(settings.Overload("off")) is None
