"""The thread beside a serving worker: how often it looks, and which one watches over the others."""

from __future__ import annotations

import threading

import pytest

from lab.processes import wait_until
from resilient_wsgi import events, servers
from resilient_wsgi.readiness import checks
from resilient_wsgi.readiness.load_policy import LoadPolicy
from resilient_wsgi.readiness.monitor import FRESH_SECONDS, IDLE_SECONDS, SOON_SECONDS, Monitor
from resilient_wsgi.readiness.states import LOADING, SERVING, UNWATCHED
from resilient_wsgi.servers.base import WORKER, Identity, Server
from resilient_wsgi.settings.options import Readiness
from resilient_wsgi.testing import FakeClock
from tests.scoreboards import in_memory


class NumberedWorker(Server):
    """One of several workers that this process stands for."""

    def __init__(self, number):
        super().__init__()
        self.supervision = self
        self.number = number
        self.recycled = []
        self.accepts = None

    def identity(self):
        return Identity(WORKER, self.number, 100 + self.number, 100)

    def set_accepting(self, accepts):
        self.accepts = accepts

    def recycle(self, pid, *, kill=False):
        self.recycled.append((pid, kill))

    def has_app(self):
        return True

    def peer_has_app(self, worker):
        return False


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def board(clock):
    """Three workers that serve and have just examined themselves."""
    board = in_memory(3)
    for number, row in enumerate(board.workers, 1):
        row.pid, row.spawns, row.state, row.ready = 100 + number, 1, SERVING, 1
        row.since = row.checked_at = clock.monotonic()
    return board


@pytest.fixture
def monitor(board, clock):
    def make(number, **options):
        server = NumberedWorker(number)
        servers.use(server)
        policy = LoadPolicy(board, Readiness(**options), clock=clock.monotonic)
        return Monitor(policy, server, board, clock), server

    yield make
    servers.use(None)


def test_a_worker_whose_readiness_cannot_change_looks_rarely(monitor, board):
    seldom, server = monitor(1)
    seldom.poll()
    assert server.accepts
    assert seldom._pause() == IDLE_SECONDS
    assert monitor(1, drain_delay=2.0)[0]._pause() == SOON_SECONDS  # it does not accept yet
    often, _ = monitor(1, queue_limit=5)
    often.poll()
    assert often._pause() == SOON_SECONDS
    board.header.draining = 1.0
    assert seldom._pause() == SOON_SECONDS


def test_while_a_check_runs_it_looks_often_and_a_new_answer_wakes_it(monitor):
    release = threading.Event()
    one, _ = monitor(1)
    one.poll()
    try:
        checks.check(name="a slow one")(release.wait)
        checks.start()
        assert wait_until(lambda: one._pause() == SOON_SECONDS, 5)
        checks.changed.get().wait(0)
        release.set()
        assert checks.changed.get().wait(5)
        assert wait_until(lambda: one._pause() == IDLE_SECONDS, 5)
    finally:
        checks.forget("a slow one")


def test_the_first_worker_that_serves_watches_over_the_others(monitor, board, clock):
    leads = lambda: [monitor(number)[0]._leads() for number in (1, 2, 3)]  # noqa: E731
    assert leads() == [True, False, False]
    board.worker(1).state = LOADING
    assert leads() == [True, True, False]  # the first one has no monitor while it loads
    board.worker(1).state = SERVING
    clock.advance(FRESH_SECONDS + 1)
    board.worker(2).checked_at = clock.monotonic()
    assert leads() == [True, True, False]


@pytest.mark.parametrize("heals", [True, False])
@pytest.mark.parametrize(("state", "problem"), [(LOADING, "loading"), (UNWATCHED, "no_app")])
def test_a_peer_that_is_stuck_is_reported_once_and_recycled_if_that_is_wanted(
    monitor, board, clock, seen, state, problem, heals
):
    board.worker(3).state = state
    clock.advance(31)
    one, server = monitor(1, heal_peers=heals)
    for _ in range(3):
        one.poll()
        clock.advance(11)
    reports = [event for event in seen if isinstance(event, events.PeerStuck)]
    assert [(event.worker, event.pid, event.problem) for event in reports] == [(3, 103, problem)]
    assert server.recycled == ([(103, state == LOADING)] if heals else [])


def test_what_another_worker_has_reported_is_not_reported_again(monitor, board, clock, seen):
    board.worker(3).state, board.worker(3).reported_pid = LOADING, 103
    clock.advance(31)
    monitor(1)[0].poll()
    assert not [event for event in seen if isinstance(event, events.PeerStuck)]
