"""What an outbound call waits for is known to the watchdog, which can end it and never touches a socket that is pooled."""

from __future__ import annotations

import socket
import threading

import pytest
import requests

from lab.processes import wait_until
from resilient_wsgi import deadline, outbound
from resilient_wsgi.deadline import limit
from resilient_wsgi.settings import Outbound


@pytest.fixture
def installed():
    outbound.install(Outbound())
    yield
    outbound.uninstall()


class Partner:
    """Answers the first requests at once on a connection that it keeps, and the last with half a body."""

    def __init__(self, answers):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/"
        self.stalled, self.over = threading.Event(), threading.Event()
        self.connections = 0
        self._answers = answers
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while connection.recv(65536):
                    if self._answers:
                        self._answers -= 1
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    else:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
                        self.stalled.set()
                        self.over.wait(20)
                        break

    def close(self):
        self.over.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self._thread.join(10)


@pytest.fixture
def partner():
    made = []

    def make(answers):
        made.append(Partner(answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_call_that_hangs_is_named_and_ended_with_the_client_s_own_timeout(installed, partner):
    there, named = partner(0), []
    with limit(30) as mine, requests.Session() as session:

        def watchdog():
            wait_until(lambda: there.stalled.is_set() and mine.waits, 10)
            named.extend(str(wait.doing) for wait in list(mine.waits))
            for wait in list(mine.waits):
                wait.interrupt()

        thread = threading.Thread(target=watchdog)
        thread.start()
        with pytest.raises(requests.exceptions.Timeout, match="ended from outside"):
            session.get(there.url)
        thread.join()
    assert named[0].startswith("127.0.0.1 (")
    assert not mine.waits


def test_a_connection_that_is_back_in_its_pool_is_not_touched(installed, partner):
    there = partner(3)
    with requests.Session() as session:
        for _ in range(3):
            with limit(30) as mine:
                assert session.get(there.url).text == "ok"
                assert not mine.waits
    assert there.connections == 1


def test_outside_of_a_request_nothing_is_registered(installed, partner):
    there = partner(1)
    with requests.Session() as session:
        assert session.get(there.url).text == "ok"
    assert deadline.current() is None
