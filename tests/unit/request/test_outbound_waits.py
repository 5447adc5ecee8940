"""What an outbound call waits for is known to the watchdog, which can end it and never touches a
socket that is pooled.
"""

from __future__ import annotations

import socket
import threading

import httpcore
import httpx
import pytest
import requests

from lab.processes import wait_until
from resilient_wsgi import deadline, outbound
from resilient_wsgi.deadline import limit
from resilient_wsgi.outbound.exchange import Exchange, active
from resilient_wsgi.settings.options import Outbound


@pytest.fixture
def installed():
    outbound.install(Outbound())
    yield
    outbound.uninstall()


class Upstream:
    """Answers the first requests at once on a connection that it keeps, and the last with half a
    body.
    """

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
def upstream():
    made = []

    def make(answers):
        made.append(Upstream(answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["requests", "httpx"])
def client(request):
    with requests.Session() if request.param == "requests" else httpx.Client() as made:
        yield made


@pytest.fixture
def timeout(client):
    return (
        httpx.TimeoutException if isinstance(client, httpx.Client) else requests.exceptions.Timeout
    )


def test_a_call_that_hangs_is_named_and_ended_with_the_client_s_own_timeout(
    installed, upstream, client, timeout
):
    there, named = upstream(0), []
    with limit(30) as mine:

        def watchdog():
            wait_until(lambda: there.stalled.is_set() and mine.waits, 10)
            named.extend(str(wait.doing) for wait in list(mine.waits))
            for wait in list(mine.waits):
                wait.interrupt()

        thread = threading.Thread(target=watchdog)
        thread.start()
        with pytest.raises(timeout, match="ended from outside"):
            client.get(there.url)
        thread.join()
    assert named[0].startswith("127.0.0.1 (")
    assert not mine.waits


def test_a_connection_that_is_back_in_its_pool_is_not_touched(installed, upstream, client):
    there = upstream(3)
    for _ in range(3):
        with limit(30) as mine:
            assert client.get(there.url).text == "ok"
            assert not mine.waits
    assert there.connections == 1


def test_outside_of_a_request_nothing_is_registered(installed, upstream, client):
    there = upstream(1)
    assert client.get(there.url).text == "ok"
    assert deadline.current() is None


def end_what_waits(mine, waiting):
    def watchdog():
        wait_until(lambda: waiting() and mine.waits, 10)
        for wait in list(mine.waits):
            wait.interrupt()

    thread = threading.Thread(target=watchdog)
    thread.start()
    return thread


def test_an_upload_of_httpx_that_hangs_is_ended_too(installed):
    listening = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def uploading():
        if not accepted:
            accepted.append(listening.accept()[0])  # and nothing is read
        return accepted[0].recv(1, socket.MSG_PEEK)

    with listening, limit(30) as mine, httpx.Client() as client:
        thread = end_what_waits(mine, uploading)
        with pytest.raises(httpx.WriteTimeout, match="ended from outside"):
            client.post(
                f"http://127.0.0.1:{listening.getsockname()[1]}/", content=b"x" * 50_000_000
            )
        thread.join()
    accepted[0].close()
    assert not mine.waits


def test_httpx_is_ended_while_it_reads_a_stream(installed, upstream):
    there = upstream(0)
    with limit(30) as mine, httpx.Client() as client, client.stream("GET", there.url) as response:
        thread = end_what_waits(mine, there.stalled.is_set)
        with pytest.raises(httpx.TimeoutException, match="ended from outside"):
            list(response.iter_raw())
        thread.join()


def test_a_connection_that_several_threads_share_is_not_cut_for_one_of_them(installed):
    """HTTP/2, as told by what httpcore sends first."""
    backend = httpcore._backends.sync
    ours, theirs = socket.socketpair()
    with ours, theirs, limit(30) as mine:
        exchange = Exchange("http://ledger.internal/")
        token = active.set(exchange)
        stream = backend.SyncStream(ours)
        stream.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        seen = []
        threading.Timer(0.05, lambda: (seen.extend(mine.waits), theirs.send(b"x"))).start()
        assert stream.read(1) == b"x"
        active.reset(token)
    assert seen == []
