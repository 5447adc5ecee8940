"""DNS in helper threads: given up on in time, shared while fresh, never more than a few."""

from __future__ import annotations

import _socket
import _thread
import os
import socket
import threading
import time

import pytest

from resilient_wsgi.outbound import resolver
from resilient_wsgi.outbound.resolver import MOST_OF_A_NAME, NotInTime, Resolver

ANSWER = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))


class Dns:
    """A name server that answers when it is told to; beneath `socket.getaddrinfo`, which stays the
    original.
    """

    def __init__(self, monkeypatch):
        self.asked = []
        self.answer = threading.Event()
        self.over = threading.Event()
        self.errors = []
        monkeypatch.setattr(_socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, *question):
        self.asked.append(question[0])
        first = len(self.asked) == 1
        if not question[0].startswith("quick"):
            (self.over if first and self.errors else self.answer).wait(20)
        if question[0].startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [ANSWER]


@pytest.fixture
def dns(monkeypatch):
    threads = _thread._count()
    made = Dns(monkeypatch)
    yield made
    made.answer.set()
    made.over.set()
    # a helper thread that has not asked yet would ask the next test's server
    wait_until(lambda: _thread._count() <= threads)


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def stuck(made, name):
    with pytest.raises(NotInTime):
        made.ask((name, 80), 0.01)


def test_an_answer_and_an_error_come_through(dns):
    made = Resolver()
    assert made.ask(("quick", 80), 5) == [ANSWER]
    dns.answer.set()
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="unknown"):
            made.ask(("unknown", 80), 5)
    wait_until(lambda: repr(made) == "<Resolver threads=0/32 names=0>")


def test_it_is_given_up_on_in_time(dns):
    began = time.monotonic()
    with pytest.raises(NotInTime):
        Resolver().ask(("a", 80), 0.1)
    assert 0.09 <= time.monotonic() - began < 5


def test_beyond_the_most_threads_a_lookup_runs_in_the_thread_that_asks(dns):
    made = Resolver(most_threads=3)
    for i in range(3):
        stuck(made, f"host{i}")
    threads = _thread._count()
    assert made.ask(("quick", 80), 5) == [ANSWER]
    stuck(made, "host1")  # what is under way is waited for
    assert _thread._count() == threads
    assert repr(made) == "<Resolver threads=3/3 names=3>"


def test_askers_of_one_name_share_a_lookup_while_it_is_fresh(dns, monkeypatch):
    monkeypatch.setattr(resolver, "SHARED_FOR", 60.0)
    made = Resolver()
    answers = []
    askers = [
        threading.Thread(target=lambda: answers.append(made.ask(("a", 80), 10))) for _ in range(5)
    ]
    for asker in askers:
        asker.start()
    wait_until(lambda: dns.asked and len(made._under_way["a", 80][0].done._cond._waiters) == 5)
    dns.answer.set()
    for asker in askers:
        asker.join()
    assert answers == [[ANSWER]] * 5
    assert dns.asked == ["a"]


def test_a_lookup_that_has_lost_its_packet_does_not_hold_up_the_next_asker(dns, monkeypatch):
    dns.errors = ["the first is lost"]
    monkeypatch.setattr(resolver, "SHARED_FOR", 0.0)
    made = Resolver()
    stuck(made, "a")
    waiting = threading.Thread(target=lambda: dns.asked.append(made.ask(("a", 80), 10)))
    waiting.start()
    wait_until(lambda: len(dns.asked) == 2)
    dns.answer.set()
    assert made.ask(("a", 80), 10) == [ANSWER]
    waiting.join(10)


def test_a_dead_name_has_a_few_threads_at_most_however_often_it_is_asked_for(dns, monkeypatch):
    monkeypatch.setattr(resolver, "SHARED_FOR", 0.0)
    made = Resolver()
    for _ in range(MOST_OF_A_NAME * 3):
        stuck(made, "a")
    assert repr(made) == f"<Resolver threads={MOST_OF_A_NAME}/32 names=1>"
    wait_until(lambda: dns.asked == ["a"] * MOST_OF_A_NAME)


def test_where_no_thread_can_be_started_it_is_asked_directly(dns, monkeypatch):
    def no_thread(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", no_thread)
    assert Resolver().ask(("quick", 80), 5) == [ANSWER]


def test_a_fork_has_a_resolver_of_its_own(dns):
    resolver.ask(("quick", 80), 5)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if resolver.ask(("quick too", 80), 5) == [ANSWER] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
