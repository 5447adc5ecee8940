"""DNS in helper threads: given up on in time, never more than a few."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from resilient_wsgi.outbound import resolver
from resilient_wsgi.outbound.resolver import NotInTime, Resolver


class Dns:
    """A name server that answers when it is told to."""

    def __init__(self, monkeypatch):
        self.asked = []
        self.answer = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, *question):
        self.asked.append(question)
        self.answer.wait(20)
        return [question]


@pytest.fixture
def dns(monkeypatch):
    made = Dns(monkeypatch)
    yield made
    made.answer.set()


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_answer_and_an_error_come_through(monkeypatch):
    made = Resolver(idle_seconds=0.01)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *question: [question])
    assert made.ask(("a", 80), 5) == [("a", 80)]

    def unknown(*question):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="unknown"):
            made.ask(("a", 80), 5)


def test_it_is_given_up_on_in_time(dns):
    began = time.monotonic()
    with pytest.raises(NotInTime):
        Resolver(idle_seconds=0.01).ask(("a", 80), 0.1)
    assert 0.09 <= time.monotonic() - began < 1


def test_there_are_never_more_threads_than_a_few_also_when_dns_stays_dead(dns):
    made = Resolver(threads=3, idle_seconds=0.01)
    before = threading.active_count()
    for i in range(20):
        with pytest.raises(NotInTime):
            made.ask((f"host{i}", 80), 0.01)
    assert threading.active_count() <= before + 3
    assert repr(made).startswith("<Resolver threads=3/3 ")
    assert len(dns.asked) == 3


def test_when_dns_is_back_what_nobody_waits_for_any_more_is_not_asked(dns):
    made = Resolver(threads=1, idle_seconds=0.01)
    for i in range(5):
        with pytest.raises(NotInTime):
            made.ask((f"host{i}", 80), 0.01)
    dns.answer.set()
    assert made.ask(("host9", 80), 10) == [("host9", 80)]
    assert [question[0] for question in dns.asked] == ["host0", "host9"]
    assert repr(made).endswith("lookups=0>")


def test_equal_questions_share_one_answer(dns):
    made = Resolver(threads=3, idle_seconds=0.01)
    answers = []
    askers = [threading.Thread(target=lambda: answers.append(made.ask(("a", 80), 10))) for _ in range(5)]
    for asker in askers:
        asker.start()
    wait_until(lambda: made._lookups and made._lookups["a", 80].waiting == 5)
    dns.answer.set()
    for asker in askers:
        asker.join()
    assert answers == [[("a", 80)]] * 5
    assert len(dns.asked) == 1


def test_idle_threads_end(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *question: [question])
    made = Resolver(idle_seconds=0.01)
    made.ask(("a", 80), 5)
    wait_until(lambda: made._threads == 0)
    assert made.ask(("a", 80), 5) == [("a", 80)]


def test_where_no_thread_can_be_started_it_is_asked_directly(monkeypatch):
    def no_thread(*args, **kwargs):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *question: [question])
    assert Resolver().ask(("a", 80), 5) == [("a", 80)]


def test_a_fork_has_a_resolver_of_its_own(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *question: [question])
    resolver.ask(("a", 80), 5)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if resolver.ask(("b", 80), 5) == [("b", 80)] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
