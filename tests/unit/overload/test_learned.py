"""What becomes of a request by what was learned: shed, passed on, or known to be of nobody."""

from __future__ import annotations

import socket

import pytest

from resilient_wsgi.core.environ import PICKED_UP
from resilient_wsgi.events import OverloadBegan, RequestShed
from resilient_wsgi.overload import state as cells
from resilient_wsgi.overload.middleware import ONE_IN, QueueMiddleware, Shared
from resilient_wsgi.overload.queue import Queue
from resilient_wsgi.overload.state import State
from resilient_wsgi.servers import Server
from resilient_wsgi.servers.facts import Connections
from resilient_wsgi.settings.options import Overload
from resilient_wsgi.testing import FakeClock, captured_events


class Waiting(Queue):
    """A queue in which each request has waited as long as the test wants it."""

    wait = 0.0

    def waited(self, now):
        return self.wait


class Behind(Connections):
    """Connections on UNIX sockets."""

    def __init__(self, fd):
        self.fd = fd
        self.blind = False

    def client_fd(self, environ):
        return self.fd

    def client_may_half_close(self, environ):
        return self.blind


@pytest.fixture
def scene():
    made = []

    class Scene:
        def __init__(self, limit=1.0, depth=5, **options):
            self.client, self.accepted = socket.socketpair()
            made.append(self)
            self.server = Server()
            self.server.connections = Behind(self.accepted.fileno())
            self.queue = Waiting(State.alone(), lambda: depth, lambda: True)
            self.cells = self.queue.state.cells
            self.cells[cells.LIMIT], self.cells[cells.DEPTH] = limit, depth
            self.cells[cells.TOLERATED] = 3 * limit
            self.clock = FakeClock()
            shared = Shared()
            shared.join(self.queue)
            options = {"max_shed_share": 1.0, **options}
            self.gate = QueueMiddleware(
                lambda *_: [], Overload(**options), self.server, self.clock, shared=shared
            )

        def ask(self, wait, path="/buy"):
            """Return the status of the answer, "" if the request is passed on."""
            self.clock.advance(0.01)
            self.queue.wait = wait
            self.environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path}
            self.status, self.headers = "", {}

            def start_response(status, headers):
                self.status, self.headers = status, dict(headers)

            self.gate.answer(self.environ, start_response)
            return self.status

        def counted(self, kind):
            begin, kinds = cells.USUAL_AT, cells.KINDS
            return sum(self.cells[begin + n * kinds + kind] for n in range(cells.BINS))

    yield Scene
    for one in made:
        one.client.close()
        one.accepted.close()


def test_who_has_waited_longer_than_was_learned_is_answered_503(scene):
    made = scene()
    with captured_events() as happened:
        assert made.ask(0.9) == ""
        answers = [made.ask(1.1) for _ in range(6)]
    assert set(answers) == {"503 Service Unavailable"}
    assert 2 <= int(made.headers["Retry-After"]) <= 4
    assert [type(event) for event in happened] == [OverloadBegan, *[RequestShed] * 6]
    assert happened[0].tolerated == 3.0


def test_they_come_back_out_of_step(scene):
    made = scene()
    assert len({made.ask(1.1) and made.headers["Retry-After"] for _ in range(6)}) == 3


def test_while_nobody_else_waits_nobody_is_shed(scene):
    assert scene(depth=0).ask(100) == ""


def test_what_is_critical_is_not_shed_and_what_is_sheddable_first(scene):
    made = scene(critical=("/pay*",), sheddable=("/ads/*",))
    assert made.ask(9, "/pay/now") == made.ask(9, "/-/live") == made.ask(9, "/-/ready") == ""
    assert made.ask(0.6, "/ads/1").startswith("503")
    assert made.ask(0.6, "/buy") == ""


def test_in_a_dry_run_it_is_served_and_counted(scene):
    made = scene(mode="report")
    assert made.ask(9) == ""
    made.environ[PICKED_UP].answered()
    assert made.counted(cells.SERVED) == 1


def test_one_that_is_shed_is_not_counted_as_served(scene):
    made = scene()
    assert made.ask(9).startswith("503")
    assert PICKED_UP not in made.environ
    assert made.counted(cells.PICKED) == 1


def test_a_client_that_is_gone_is_counted_and_left_to_the_gate_behind(scene):
    made = scene()
    made.client.close()
    assert made.ask(9) == ""
    assert made.counted(cells.DEAD) == 1


def test_a_client_that_has_closed_its_half_is_not_gone(scene):
    made = scene()
    made.client.shutdown(socket.SHUT_WR)
    assert made.ask(0.5) == ""
    made.environ[PICKED_UP].answered()
    assert (made.counted(cells.DEAD), made.counted(cells.VAIN)) == (0, 0)


def test_a_client_that_hangs_up_meanwhile_was_served_in_vain(scene):
    made = scene()
    made.ask(0.5)
    made.client.close()
    made.clock.advance(3)
    made.environ[PICKED_UP].answered()
    assert (made.counted(cells.VAIN), made.counted(cells.WORK_VAIN)) == (1, 3)


def test_where_clients_cannot_be_seen_nothing_is_counted_of_them(scene):
    made = scene(limit=0)
    made.server.connections.blind = True
    made.client.close()
    assert made.ask(9) == ""
    assert made.counted(cells.PICKED) == 0
    assert PICKED_UP not in made.environ


def test_of_those_that_found_no_queue_one_in_sixteen_is_looked_at(scene):
    made = scene(limit=0)
    made.queue.calm_until = 1e9
    for _ in range(10 * ONE_IN):
        made.ask(0.0)
    assert made.counted(cells.PICKED) == 10
    assert made.queue.state.picked() == 10 * ONE_IN


def test_a_target_works_where_clients_cannot_be_seen(scene):
    made = scene(limit=0, target=0.3)
    made.server.connections.blind = True
    assert made.ask(2) == ""
    for _ in range(250):
        last = made.ask(2)
    assert last.startswith("503")
    assert made.ask(0.5) == ""
