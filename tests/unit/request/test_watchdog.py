"""What the watchdog does, and when: by a clock that the test turns."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time

import pytest

from resilient_wsgi.deadline import Interruptible
from resilient_wsgi.events import ClientLeft, RequestOverdue, RequestSlow, WorkerRecycled
from resilient_wsgi.events.announcer import WAITING, Announcer
from resilient_wsgi.request import stack_dumps, watchdog
from resilient_wsgi.request.recycling import Recycling
from resilient_wsgi.request.running import RequestDeadline, Running, Slot
from resilient_wsgi.request.wakeup import Alarm
from resilient_wsgi.request.watchdog import Watchdog
from resilient_wsgi.servers import Identity, Server
from resilient_wsgi.settings.options import Request
from resilient_wsgi.shm.layout import Geometry
from resilient_wsgi.shm.scoreboard import Scoreboard
from resilient_wsgi.testing import FakeClock, captured_events


class Replaceable(Server):
    """A server that replaces a worker that leaves, and notes it."""

    def __init__(self):
        super().__init__()
        self.did = []

    def identity(self):
        return Identity("worker", 3, 4711, 4710)

    def drain(self):
        self.did.append("drain")
        return True

    def exit(self):
        self.did.append("exit")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def board():
    return Scoreboard(memfd(), Geometry(1, 0, 4))


def memfd():
    fd = os.memfd_create("scoreboard")
    os.ftruncate(fd, Geometry(1, 0, 4).size)
    return fd


class Scene:
    """A table with requests, a watchdog that scans it, and what it said and did."""

    def __init__(self, clock, board, **options):
        self.clock, self.table, self.said, self.server = clock, Running(), [], Replaceable()
        options = Request(**options)
        recycling = Recycling(options, self.server, board, self.said.append, lambda: None)
        self.watchdog = Watchdog(
            options, self.said.append, recycling=recycling, table=self.table, system=clock
        )

    def request(self, path="/pay", limit=10.0, method="GET", thread=None):
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path}
        thread = threading.get_ident() if thread is None else thread
        slot = self.table.slots[thread] = Slot(thread, None)
        slot.request = RequestDeadline(self.clock.monotonic(), limit, environ, system=self.clock)
        return slot.request

    def after(self, seconds):
        self.clock.advance(seconds)
        return self.watchdog.scan()

    def kinds(self):
        return [type(event) for event in self.said]


@pytest.fixture
def in_app(monkeypatch):
    """The test's thread counts as one in which an app runs."""
    monkeypatch.setattr(stack_dumps, "in_request", lambda thread: True)


@pytest.fixture
def another_thread():
    stopped = threading.Event()
    thread = threading.Thread(target=stopped.wait, name="another")
    thread.start()
    yield
    stopped.set()
    thread.join()


def test_a_slow_request_is_said_once_with_what_it_waits_for_and_the_stacks(
    clock, board, another_thread
):
    scene = Scene(clock, board)
    request = scene.request()
    request.waits[type("Wait", (), {"doing": "api.example (body)"})()] = None
    scene.after(7.9)
    assert scene.said == []
    scene.after(0.2)
    scene.after(0.2)
    (slow,) = scene.said
    assert (slow.method, slow.path, slow.limit, slow.waiting_for) == (
        "GET",
        "/pay",
        10,
        "api.example (body)",
    )
    assert "thread 'another'\n" in slow.stacks
    assert "wait (" in slow.stacks
    assert str(slow).startswith(
        "GET /pay has run for 8.10 s of 10 s (waited 0.00 s in the queue before), waiting for api."
    )


def test_slow_after_can_be_set_also_where_there_is_no_deadline(clock, board):
    scene = Scene(clock, board, slow_after=2.0)
    scene.request(limit=float("inf"))
    scene.after(2.1)
    scene.after(1000)
    assert scene.kinds() == [RequestSlow]


def test_stacks_are_written_once_a_second_though_many_requests_become_slow(
    clock, board, another_thread
):
    scene = Scene(clock, board)
    for thread in range(3):
        scene.request(thread=thread)
    scene.after(8.1)
    scene.request(thread=4, limit=0.1)
    scene.after(1.0)
    assert [bool(event.stacks) for event in scene.said if type(event) is RequestSlow] == [
        True,
        False,
        False,
        True,
    ]


def test_at_the_deadline_the_request_s_waits_are_ended_and_so_are_those_that_it_begins_later(
    clock, board
):
    scene = Scene(clock, board)
    request, ended = scene.request(), []

    class Wait:
        doing = ""

        def interrupt(self):
            ended.append(self)
            return True

    request.waits[Wait()] = None
    scene.after(9.9)
    assert ended == []
    scene.after(0.2)
    assert len(ended) == 1
    request.waits.clear()
    request.waits[Wait()] = None
    scene.after(0.2)
    assert len(ended) == 2
    assert [e.interrupted for e in scene.said if type(e) is RequestOverdue] == [1]


def test_past_its_grace_the_worker_is_replaced_once_its_other_requests_are_done(
    clock, board, in_app
):
    scene = Scene(clock, board, overdue_grace=5.0)
    scene.request("/stuck", thread=1)
    scene.after(14.9)
    scene.request("/other", thread=2)
    assert scene.server.did == []
    scene.after(0.2)
    scene.after(0.3)
    scene.after(0.3)
    assert scene.server.did == ["drain"]
    scene.table.slots[2].request = None
    scene.after(0.3)
    scene.after(0.3)
    assert scene.server.did == ["drain", "exit"]
    (event,) = (e for e in scene.said if type(e) is WorkerRecycled)
    assert event.outcome == "recycled"
    assert (
        str(event)
        == "worker 3 (pid 4711) is draining and will be replaced: GET /stuck has run for 15.1 s; "
        "its limit of 10 s (REQUEST.TIMEOUT or PATHS) and 5 s more (OVERDUE_GRACE) are over. "
        "Fix: if it may take longer, raise that limit"
    )


def test_the_others_do_not_hold_it_up_for_ever(clock, board, in_app):
    scene = Scene(clock, board, overdue_grace=5.0, recycle_drain=10.0)
    scene.request(thread=1)
    scene.after(15.1)
    scene.request(limit=100.0, thread=2)
    scene.after(9.8)
    assert scene.server.did == ["drain"]
    scene.after(0.3)
    assert scene.server.did == ["drain", "exit"]


def test_a_worker_whose_thread_is_not_in_the_app_is_not_replaced(clock, board):
    """The server sends the answer to a slow client, or nobody has closed the response."""
    scene = Scene(clock, board)
    scene.request()
    scene.after(100)
    assert scene.server.did == []


def test_no_more_workers_of_the_instance_are_replaced_than_the_rate_allows(clock, board, in_app):
    outcomes = []
    for _ in range(4):
        scene = Scene(clock, board, recycles_per_minute=2)
        scene.request()
        scene.after(15.1)
        outcomes += [e.outcome for e in scene.said if type(e) is WorkerRecycled]
    assert outcomes == ["recycled", "recycled", "rate_limited", "rate_limited"]


def test_report_mode_does_nothing_and_says_what_it_would_have_done(clock, board, in_app):
    scene = Scene(clock, board, mode="report")
    request = scene.request()
    request.waits[object()] = None
    request.waits = {
        type(
            "Wait", (), {"doing": "", "interrupt": lambda self: pytest.fail("interrupted")}
        )(): None
    }
    scene.after(8.1)
    scene.after(2)
    scene.after(6)
    assert scene.kinds() == [RequestSlow, RequestOverdue, WorkerRecycled]
    assert str(scene.said[1]).endswith(
        "has passed its deadline of 10 s; dry run, nothing was ended"
    )
    assert scene.said[-1].outcome == "dry_run"
    assert scene.server.did == []


def test_nothing_is_said_or_done_in_a_thousand_requests_that_end_in_time(clock, board):
    scene = Scene(clock, board)
    for _ in range(1000):
        scene.request()
        scene.after(5)
        scene.table.slots.clear()
    scene.after(1)
    assert scene.said == []
    assert scene.watchdog._watched == {}


def test_a_thousand_firings_leave_nothing_behind(clock, board):
    scene = Scene(clock, board)
    for _ in range(1000):
        request = scene.request()
        with Interruptible(lambda: None, "x", request.waits) as wait:
            scene.after(10.1)
        assert wait.interrupted
        assert not request.waits
        scene.table.slots.clear()
    del request, wait
    scene.after(1)
    assert scene.watchdog._watched == {}
    assert sum(isinstance(event, RequestOverdue) for event in scene.said) == 1000
    gc.collect()
    assert [each for each in gc.get_objects() if type(each) is RequestDeadline] == []


@pytest.mark.parametrize(("method", "ended"), [("GET", True), ("HEAD", True), ("POST", False)])
def test_a_client_that_leaves_ends_what_may_be_ended(clock, board, method, ended):
    scene = Scene(clock, board, client_left="enforce")
    request, interrupted = scene.request(method=method), []
    request.waits[
        type("Wait", (), {"doing": "", "interrupt": lambda self: interrupted.append(1) or True})()
    ] = None
    client, accepted = socket.socketpair()
    with client, accepted:
        request.client_fd = accepted.fileno()
        scene.after(0.2)
        assert scene.said == []
        client.close()
        scene.after(0.2)
        scene.after(0.2)
    assert scene.kinds() == [ClientLeft]
    assert bool(interrupted) is ended
    assert (request.remaining() <= 0) is ended


def test_it_sleeps_until_something_is_due_and_never_long(clock, board):
    scene = Scene(clock, board)
    assert scene.after(0) == 0.25
    scene.request()
    assert scene.after(7.9) == pytest.approx(0.1)


def test_events_are_told_by_another_thread_and_what_is_too_much_is_counted():
    announce, go_on, began = Announcer(), threading.Event(), threading.Event()
    with captured_events() as happened:
        from resilient_wsgi import events

        def hang(event):
            began.set()
            go_on.wait(30)

        unsubscribe = events.subscribe(hang)
        announce(ClientLeft("GET", "/", 1.0, 0))
        assert began.wait(10)
        for _ in range(WAITING + 3):
            announce(ClientLeft("GET", "/", 1.0, 0))
        assert announce.lost == 3
        assert not announce.wait(0.01)
        go_on.set()
        assert announce.wait(10)
        unsubscribe()
    assert len(happened) == WAITING + 1


def test_the_thread_ends_when_it_is_told_to(clock, board):
    scene = Scene(clock, board)
    before = threading.active_count()
    scene.watchdog.start()
    scene.watchdog.stop()
    assert threading.active_count() == before


@pytest.fixture
def resting(clock, board):
    """A watchdog whose thread rests, and how often it scans."""
    scene = Scene(clock, board, slow_after=None)
    scans, scan = [], scene.watchdog.scan

    def counted():
        scans.append(1)
        return scan()

    scene.watchdog.scan = counted
    scene.scans = scans
    scene.watchdog.start()
    assert wait_until(lambda: rests(scene))
    yield scene
    scene.watchdog.stop()


def rests(scene):
    """Whether it has not scanned for longer than it ever does while a request runs."""
    before = len(scene.scans)
    time.sleep(3 * watchdog.TICK)
    return len(scene.scans) == before and before >= watchdog.IDLE_SCANS + watchdog.LAST_SCANS


def test_it_rests_while_nothing_runs_and_the_next_request_of_any_thread_wakes_it(resting):
    for _ in range(2):
        before, table = len(resting.scans), resting.table
        slot = in_thread(table.add_thread)
        assert table.slots == {slot.thread: slot}
        assert wait_until(lambda before=before: len(resting.scans) > before)
        assert wait_until(lambda: rests(resting))
        assert table.slots == {}
        assert table.slot_of(slot.thread) is slot


def test_it_does_not_rest_while_a_request_runs(resting):
    slot = resting.table.add_thread()
    slot.request = RequestDeadline(resting.clock.monotonic(), 1e9, {}, system=resting.clock)
    assert not any(rests(resting) for _ in range(4))
    assert resting.table.requests() == [(slot.thread, slot.request)]
    slot.request = None
    assert wait_until(lambda: rests(resting))


def test_a_request_that_began_just_when_it_went_to_rest_is_seen(clock, board):
    scene = Scene(clock, board)
    slot = scene.table.add_thread()
    scene.watchdog._alarm = Alarm()
    for _ in range(watchdog.IDLE_SCANS):
        assert scene.watchdog._rest(scene.watchdog.scan()) == watchdog.TICK
    assert scene.table.slots == {}
    # its thread had looked up the slot before
    slot.request = RequestDeadline(clock.monotonic(), 10.0, {}, system=clock)
    assert scene.watchdog._rest(scene.watchdog.scan()) == watchdog.TICK
    for _ in range(9):
        assert scene.watchdog._rest(scene.watchdog.scan()) == watchdog.TICK
    slot.finish(slot.request)
    for _ in range(watchdog.IDLE_SCANS + watchdog.LAST_SCANS):
        sleep = scene.watchdog._rest(scene.watchdog.scan())
    assert sleep == watchdog.REST


def test_it_never_rests_for_longer_than_the_timer_of_the_gil_allows(clock, board):
    scene = Scene(clock, board, gil_timeout=8.0)
    scene.watchdog._alarm = Alarm()
    scene.watchdog._heartbeat = type("Beats", (), {"beat": lambda *_: None})()
    for _ in range(watchdog.IDLE_SCANS + watchdog.LAST_SCANS):
        sleep = scene.watchdog._rest(scene.watchdog.scan())
    assert sleep == 2.0


@pytest.fixture
def short_rest(monkeypatch):
    monkeypatch.setattr(watchdog, "REST", 3.0)


def test_without_its_pipe_it_goes_on_scanning(short_rest, resting):
    alarm = resting.watchdog._alarm
    # as an app does that makes a daemon of itself, and opens a pipe, which gets their numbers
    read, write = alarm.fd, alarm._write
    ends = os.pipe()
    for end, number in zip(ends, (read, write)):
        os.dup2(end, number)
        os.close(end)
    in_thread(resting.table.add_thread)
    assert wait_until(lambda: not rests(resting))
    resting.watchdog.stop()
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):  # nothing of ours came to it
        os.read(read, 1)
    os.close(read)
    os.close(write)
    # the thread that rested ends when it has
    assert wait_until(lambda: not any(each.name == WATCHDOG for each in threading.enumerate()))


WATCHDOG = "resilient_wsgi watchdog"


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
