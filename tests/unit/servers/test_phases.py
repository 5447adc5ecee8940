"""The points in the life of a process: what is to be run there runs once in each process."""

from __future__ import annotations

import pytest

from resilient_wsgi.core.system import System
from resilient_wsgi.servers.base import Phase, Server


class Forked(System):
    """A process id that a test can change, as a fork does."""

    pid = 1

    def getpid(self):
        return self.pid


@pytest.fixture
def system():
    return Forked()


def test_a_callback_runs_once_in_each_process(system):
    ran = []
    phase = Phase("start", system=system)
    phase.add(lambda: ran.append(system.pid))
    phase.reach()
    phase.reach()
    system.pid = 2
    assert not phase.reached
    phase.reach()
    assert ran == [1, 2]


def test_a_callback_that_comes_late_runs_at_once(system):
    ran = []
    phase = Phase("start", system=system)
    phase.reach()
    phase.add(lambda: ran.append(1))
    assert ran == [1]


def test_a_callback_that_raises_does_not_keep_the_others_from_running(system, caplog):
    ran = []
    phase = Phase("stop", latest_first=True, system=system)
    phase.add(lambda: ran.append("first"))
    phase.add(lambda: 1 / 0)
    phase.add(lambda: ran.append("last"))
    phase.reach()
    assert ran == ["last", "first"]
    assert "ZeroDivisionError" in caplog.text


def test_ready_implies_start_and_is_done_once(system):
    ran = []
    server = Server(system)
    server.hooks.ready.add(lambda: ran.append("ready"))
    server.hooks.start.add(lambda: ran.append("start"))
    server.ready()
    server.ready()
    assert ran == ["start", "ready"]


def test_a_callback_that_is_forgotten_does_not_run(system):
    ran = []
    server = Server(system)
    callback = lambda: ran.append(1)  # noqa: E731
    server.hooks.stop.add(callback)
    server.hooks.forget(callback)
    server.stopping()
    assert ran == []
