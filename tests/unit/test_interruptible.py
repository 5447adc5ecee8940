"""Waits that the watchdog ends, and never a socket that is somebody else's by then."""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time

from resilient_wsgi import deadline
from resilient_wsgi.deadline import limit


def test_a_wait_of_a_request_is_ended_from_another_thread():
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        limit(5) as mine,
        deadline.interruptible(lambda: ours.shutdown(socket.SHUT_RDWR), "x") as wait,
    ):
        threading.Timer(0.02, lambda: [w.interrupt() for w in list(mine.waits)]).start()
        assert ours.recv(1) == b""
    assert wait.interrupted
    assert not mine.waits


def test_what_is_over_is_not_touched():
    calls = []
    with limit(5) as mine:
        with deadline.interruptible(lambda: calls.append(1)) as wait:
            assert list(mine.waits) == [wait]
        assert not wait.interrupt()
        assert not wait.disarm()
    assert calls == []


def test_where_no_deadline_holds_nothing_is_registered():
    with deadline.interruptible(lambda: None) as wait:
        assert not wait.interrupt()


def test_limits_within_share_the_waits_of_the_request():
    with limit(5) as outer, limit(1), deadline.interruptible(lambda: None) as wait:
        assert wait in outer.waits


def test_a_callback_that_raises_has_done_its_work():
    with limit(5), deadline.interruptible(lambda: 1 / 0) as wait:
        assert wait.interrupt()
        assert not wait.interrupt()


def test_its_words_may_change_as_the_wait_does():
    with limit(5), deadline.interruptible(lambda: None, "x (connect)") as wait:
        wait.doing = "x (body)"
        assert repr(wait) == "<Interruptible 'x (body)' armed>"


def test_what_is_passed_on_is_the_time_left():
    assert deadline.to_pass_on() is None
    with limit(5):
        assert 4000 < int(deadline.to_pass_on()) <= 5000


def test_leaving_the_block_waits_for_a_callback_that_runs():
    order, began, go_on = [], threading.Event(), threading.Event()

    def callback():
        began.set()
        go_on.wait(10)
        order.append("callback")

    with limit(5) as mine:
        with deadline.interruptible(callback) as wait:
            watchdog = threading.Thread(target=wait.interrupt)
            watchdog.start()
            assert began.wait(10)
            threading.Timer(0.05, go_on.set).start()
        order.append("left")
    watchdog.join()
    assert order == ["callback", "left"]
    assert not mine.waits


def paused(call, line, meanwhile):
    """Run `call()` in a thread that stops before its `line`th line until `meanwhile()` is over, or
    waits for it.
    """
    reached, go_on = threading.Event(), threading.Event()
    left = [line]

    def trace(frame, what, arg):
        if what == "line":
            left[0] -= 1
            if left[0] < 0 and not reached.is_set():
                reached.set()
                go_on.wait(10)
        return trace

    def run():
        sys.settrace(
            lambda frame, what, arg: trace if frame.f_code is call.__func__.__code__ else None
        )
        call()

    thread = threading.Thread(target=run)
    thread.start()
    while not reached.is_set() and thread.is_alive():
        reached.wait(0.001)
    other = threading.Thread(target=meanwhile)
    other.start()
    other.join(0.02)
    go_on.set()
    thread.join()
    other.join()
    return reached.is_set()


def test_at_no_line_of_interrupt_can_a_wait_be_over_and_be_ended_all_the_same():
    """Whoever was told that his connection was not touched gives it to a pool: from then on it must
    not be touched.
    """
    line, seen = 0, set()
    while True:
        happened = []
        with limit(5):
            wait = deadline.interruptible(lambda: happened.append("touched")).arm()  # noqa: B023 - called in this round
        reuse = lambda: happened.append("spoilt" if wait.disarm() else "reused")  # noqa: B023, E731
        if not paused(wait.interrupt, line, reuse):
            break
        assert happened in (["touched", "spoilt"], ["reused"]), (
            f"stopped before line {line} of interrupt()"
        )
        seen.update(happened)
        line += 1
    assert line > 4
    assert seen == {"touched", "spoilt", "reused"}


def test_at_no_line_of_disarm_either():
    line = 0
    while True:
        happened = []
        with limit(5):
            wait = deadline.interruptible(lambda: happened.append("touched")).arm()  # noqa: B023
        told = []
        go = paused(wait.disarm, line, lambda: told.append(wait.interrupt()))  # noqa: B023
        if not go:
            break
        assert wait.interrupted == told[0] == bool(happened), (
            f"stopped before line {line} of disarm()"
        )
        line += 1
    assert line > 2


class Pool:
    """Connections that requests take and put back, while a watchdog interrupts the requests at any
    moment.
    """

    def __init__(self):
        self.free = [socket.socketpair() for _ in range(4)]
        self.running = []
        self.over = threading.Event()
        self.wrong = []
        self.interrupted = 0

    def watchdog(self):
        while not self.over.is_set():
            for mine in list(self.running):
                for wait in list(mine.waits):
                    wait.interrupt()
            time.sleep(0.0001)

    def requests(self, count):
        for _ in range(count):
            pair = self.free.pop()

            fd = pair[0].fileno()

            def end(fd=fd):
                # as shutdown() in C does: it takes the descriptor's number, lets go of the GIL, and
                # then uses the number
                time.sleep(0.0002)
                with socket.socket(fileno=os.dup(fd)) as sock:
                    sock.shutdown(socket.SHUT_RDWR)

            with limit(5) as mine:
                self.running.append(mine)
                with deadline.interruptible(end) as wait:
                    time.sleep(random.random() / 2000)
                self.running.remove(mine)
            self.free.append(self.renewed(pair) if wait.interrupted else self.tried(pair))

    def tried(self, pair):
        """The connection is its pool's again: it must work, now and a moment later."""
        for _ in range(2):
            try:
                pair[0].send(b"x")
                assert pair[1].recv(1) == b"x"
            except (OSError, AssertionError) as error:
                self.wrong.append(error)
                return self.renewed(pair)
            time.sleep(0.0003)
        return pair

    def renewed(self, pair):
        self.interrupted += 1
        self.close(pair)
        return socket.socketpair()

    @staticmethod
    def close(pair):
        for end in pair:
            end.close()


def test_a_pooled_connection_is_never_shut_down_under_its_next_user():
    pool = Pool()
    guard = threading.Thread(target=pool.watchdog)
    users = [threading.Thread(target=pool.requests, args=(400,)) for _ in range(3)]
    for thread in (guard, *users):
        thread.start()
    for user in users:
        user.join()
    pool.over.set()
    guard.join()
    for pair in pool.free:
        pool.close(pair)
    assert pool.wrong == []
    assert 0 < pool.interrupted < 1200
