"""The wait of an overdue request for any socket is ended; what is not is named."""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
import time

import pytest

from resilient_wsgi.core import frames
from resilient_wsgi.core.app_entries import calls_the_app
from resilient_wsgi.deadline import Interruptible
from resilient_wsgi.events import RequestOverdue, WaitEnded
from resilient_wsgi.host import waits, waits_chain, waits_refusals, waits_sockets
from resilient_wsgi.request import ended_waits, locks, stack_dumps
from resilient_wsgi.request.ended_waits import EndedWaits
from resilient_wsgi.request.running import RequestDeadline, Running
from resilient_wsgi.request.waiting import Waiting
from resilient_wsgi.request.watchdog import Watchdog
from resilient_wsgi.settings.options import Request
from resilient_wsgi.shm.layout import Geometry
from resilient_wsgi.shm.scoreboard import Scoreboard
from resilient_wsgi.testing import FakeClock
from tests.unit.host.waiting import fresh_descriptors

pytestmark = [
    pytest.mark.skipif(bool(waits_chain.why_not()), reason=waits_chain.why_not()),
    pytest.mark.skipif(bool(waits.why_not()), reason=waits.why_not()),
    pytest.mark.skipif("t" in sys.abiflags, reason="a free-threaded build"),
]


class InRequest(threading.Thread):
    """A thread that serves a request in which the app makes a call."""

    def __init__(self, table, request, call):
        super().__init__(daemon=True)
        self.table, self.request, self.call, self.result = table, request, call, None
        self.start()

    def run(self):
        self.slot = self.table.add_thread()
        self.slot.request = self.request
        try:
            self.result = self.answer()
        except OSError as error:
            self.result = error
        finally:
            self.slot.request = None

    @calls_the_app
    def answer(self):
        return self.call()


class Scene:
    """A watchdog of whose requests each has a thread of its own."""

    def __init__(self, **options):
        self.clock, self.table, self.said = FakeClock(), Running(), []
        options = Request(**options)
        waiting = Waiting(self.table)
        inherited = waits_sockets.Inherited()
        ends = EndedWaits(options, self.said.append, waiting, inherited, self.table)
        self.watchdog = Watchdog(
            options,
            self.said.append,
            waiting=waiting,
            ended_waits=ends,
            table=self.table,
            system=self.clock,
        )

    def request(self, call, limit=10.0):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/pay"}
        request = RequestDeadline(self.clock.monotonic(), limit, environ, system=self.clock)
        return InRequest(self.table, request, call)

    def scan_until(self, done, seconds=0.0):
        self.clock.advance(seconds)
        until = time.monotonic() + 10
        while not done() and time.monotonic() < until:
            self.watchdog.scan()
            self.clock.advance(0.25)
            time.sleep(0.02)
        assert done()

    def events(self, kind):
        return [event for event in self.said if type(event) is kind]


@pytest.fixture(autouse=True)
def _fresh_descriptors():
    with fresh_descriptors():
        yield


@pytest.fixture
def silent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


@pytest.fixture
def connection(silent):
    with socket.create_connection(silent) as sock:
        yield sock


def blocked(thread, kind=waits.SOCKET):
    until = time.monotonic() + 10
    while time.monotonic() < until:
        native = getattr(thread, "slot", None) and thread.slot.native
        found = waits.wait_of(native) if native else None
        if found is not None and found.kind == kind:
            return
        time.sleep(0.005)
    raise AssertionError(found)


def test_a_wait_that_nobody_has_registered_is_ended_at_the_deadline_and_told(connection, silent):
    scene = Scene()
    thread = scene.request(lambda: connection.recv(1))
    blocked(thread)
    scene.clock.advance(9.9)
    scene.watchdog.scan()
    assert scene.events(WaitEnded) == []
    scene.scan_until(lambda: not thread.is_alive(), 0.2)
    assert isinstance(thread.result, ConnectionError)
    (ended,) = scene.events(WaitEnded)
    (overdue,) = scene.events(RequestOverdue)
    assert (ended.method, ended.path, ended.kind, ended.how) == ("GET", "/pay", "tcp", "reset")
    assert ended.peer == f"127.0.0.1:{silent[1]}"
    assert ended.caller.startswith(__file__)
    assert (overdue.interrupted, overdue.reason) == (1, "")


def test_a_registered_wait_is_ended_first_and_alone(connection):
    scene = Scene()
    ended = []
    thread = scene.request(lambda: connection.recv(1))
    registered = Interruptible(lambda: ended.append(1), "api", thread.request.waits)
    with registered:
        blocked(thread)
        scene.clock.advance(10)
        scene.watchdog.scan()
        assert ended == [1]
        assert scene.events(WaitEnded) == []
        assert thread.is_alive()
        scene.scan_until(lambda: not thread.is_alive())  # it has not helped
    assert len(scene.events(WaitEnded)) == 1


@pytest.mark.parametrize("options", [{"mode": "report"}, {"end_waits": "known"}])
def test_nothing_is_ended_where_that_is_not_wanted(options, connection):
    scene = Scene(**options)
    thread = scene.request(lambda: connection.recv(1))
    blocked(thread)
    scene.scan_until(lambda: scene.events(RequestOverdue) != [], 10)
    (overdue,) = scene.events(RequestOverdue)
    assert overdue.waiting_for.startswith("127.0.0.1:")
    assert overdue.reason == ""
    assert thread.is_alive()
    assert scene.events(WaitEnded) == []
    connection.shutdown(socket.SHUT_RDWR)


def test_where_frames_may_not_be_looked_at_nothing_is_ended_and_it_is_said(connection, monkeypatch):
    scene = Scene()
    thread = scene.request(lambda: connection.recv(1))
    blocked(thread)
    monkeypatch.setattr(frames, "frame_of", lambda thread: None)
    monkeypatch.setattr(frames, "why_not", lambda: "threads were lost")
    scene.scan_until(lambda: scene.events(RequestOverdue) != [], 10)
    (overdue,) = scene.events(RequestOverdue)
    assert overdue.reason == "threads were lost"
    assert thread.is_alive()
    connection.shutdown(socket.SHUT_RDWR)


def test_why_a_wait_is_not_ended_is_told_once(connection):
    scene = Scene()
    first = scene.request(lambda: connection.recv(1))
    blocked(first)
    second = scene.request(lambda: connection.recv(1))
    blocked(second)
    scene.scan_until(lambda: len(scene.events(RequestOverdue)) == 2, 10)
    reasons = [event.reason for event in scene.events(RequestOverdue)]
    assert all("another thread of this process waits for the same socket" in r for r in reasons)
    assert scene.events(WaitEnded) == []
    connection.shutdown(socket.SHUT_RDWR)


def test_a_wait_outside_of_the_app_is_left_alone(connection):
    """The server's code: it sends the answer to a slow client."""
    scene = Scene()
    thread = scene.request(lambda: None)
    thread.join()

    class Outside(InRequest):
        def answer(self):
            return connection.recv(1)

    outside = Outside(scene.table, thread.request, None)
    blocked(outside)
    scene.scan_until(lambda: scene.events(RequestOverdue) != [], 10)
    assert outside.is_alive()
    connection.shutdown(socket.SHUT_RDWR)


def test_if_the_client_is_gone_its_deadline_is_not_the_requests_own(connection):
    scene = Scene()
    thread = scene.request(lambda: connection.recv(1))
    blocked(thread)
    thread.request.client_gone = True
    thread.request.at = scene.clock.monotonic()
    scene.watchdog.scan()
    assert thread.is_alive()
    scene.scan_until(lambda: not thread.is_alive(), 10)


def test_a_worker_is_not_replaced_in_the_moment_in_which_the_wait_for_a_commit_is_ended(
    connection, monkeypatch
):
    scene, begun = Scene(overdue_grace=5.0), []
    monkeypatch.setattr(stack_dumps, "in_request", lambda thread: True)

    class Recycling:
        under_way = False
        begin = staticmethod(lambda *_: begun.append(1))
        go_on = staticmethod(lambda *_: None)

    scene.watchdog._recycling = Recycling

    def commit():
        return connection.recv(1)

    thread = scene.request(commit)
    blocked(thread)
    scene.clock.advance(14)
    scene.watchdog.scan()
    assert thread.is_alive()
    assert "commit" in scene.events(RequestOverdue)[0].reason
    scene.scan_until(lambda: not thread.is_alive(), 1)
    assert begun == []


def test_a_lock_is_named_with_who_holds_it():
    scene = Scene()
    lock, held, done = threading.RLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(10)

    def wants():
        with lock:
            pass

    holder = threading.Thread(target=hold, name="refresher")
    holder.start()
    held.wait(10)
    thread = scene.request(wants)
    blocked(thread, waits.LOCK)
    scene.scan_until(lambda: scene.events(RequestOverdue) != [], 9.5)
    done.set()
    holder.join()
    (overdue,) = scene.events(RequestOverdue)
    assert overdue.waiting_for.startswith("a lock held by thread 'refresher' in "), (
        overdue.waiting_for
    )
    assert "hold (test_ended_waits.py:" in overdue.waiting_for
    assert "no wait could be ended, waiting for a lock held" in str(overdue)


def test_a_lock_whose_holder_is_not_known_is_named_with_the_line_that_waits():
    scene = Scene()
    lock = threading.Lock()
    lock.acquire()

    def wants():
        with lock:
            pass

    thread = scene.request(wants)
    blocked(thread, waits.LOCK)
    scene.scan_until(lambda: scene.events(RequestOverdue) != [], 9.5)
    lock.release()
    (overdue,) = scene.events(RequestOverdue)
    assert "a lock in " in overdue.waiting_for
    assert "wants (test_ended_waits.py:" in overdue.waiting_for


def test_who_wants_the_gil_waits_for_no_lock():
    scene = Scene()
    stopped = []

    def compute():
        while not stopped:
            pass

    thread = scene.request(compute, limit=math.inf)
    scene.clock.advance(5)
    for _ in range(20):
        scene.watchdog.scan()
        assert thread.request.doing() == ""
        time.sleep(0.02)
    stopped.append(True)
    thread.join()


def test_what_is_waited_for_stands_in_the_row_of_the_scoreboard(connection, silent):
    scene = Scene(end_waits="known")
    fd = os.memfd_create("scoreboard")
    os.ftruncate(fd, Geometry(1, 0, 1).size)
    row = Scoreboard(fd, Geometry(1, 0, 1)).worker(1)
    scene.table.give(row.threads)
    thread = scene.request(lambda: connection.recv(1))
    blocked(thread)
    thread.slot.row.begin(1.0, 11.0, b"GET", b"/pay", 1.0)
    scene.clock.advance(2)
    scene.watchdog.scan()
    (found,) = row.requests()
    assert found.doing == f"127.0.0.1:{silent[1]}"
    connection.shutdown(socket.SHUT_RDWR)


def test_under_gevent_nothing_is_named(connection, monkeypatch):
    monkeypatch.setattr(waits_refusals, "of_greenlets", lambda: "gevent has replaced the sockets")
    scene = Scene(end_waits="known")
    thread = scene.request(lambda: connection.recv(1))
    blocked(thread)
    scene.clock.advance(5)
    scene.watchdog.scan()
    assert thread.request.doing() == ""
    connection.shutdown(socket.SHUT_RDWR)


def test_the_reason_is_only_given_where_waits_are_to_be_ended(monkeypatch):
    monkeypatch.setattr(waits_refusals, "of_process", lambda: "no /proc")
    assert ended_waits.why_not(Request()) == "no /proc"
    assert ended_waits.why_not(Request(end_waits="known")) == ""
    assert ended_waits.why_not(Request(mode="report")) == ""


def test_of_a_thread_without_frames_only_the_lock_is_said():
    assert locks.named(1) == "a lock"
