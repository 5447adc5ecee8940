"""What is done to a client's connection under gunicorn."""

from __future__ import annotations

import socket
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.processes import wait_until
from resilient_wsgi.servers import gunicorn


@pytest.fixture
def pair():
    ours, client = socket.socketpair()
    ours.setblocking(False)
    with ours, client:
        yield ours, client


def connections(*, closes):
    made = gunicorn._Connections(None)
    made._closes = closes
    return made


def ended(ours):
    """Return whether the worker would find the client's side closed."""
    try:
        return ours.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_sync_worker_does_not_wait_for_a_client_that_has_nothing_more_to_send(pair):
    ours, client = pair
    connections(closes=True).close_promptly({"gunicorn.socket": ours})
    assert ended(ours)
    ours.sendall(b"503")  # the answer still gets through
    assert client.recv(10) == b"503"


@pytest.mark.parametrize(
    "more", [{"CONTENT_LENGTH": "5"}, {"HTTP_TRANSFER_ENCODING": "chunked"}], ids=str
)
def test_of_a_request_with_a_body_nothing_is_cut_off(pair, more):
    ours, _ = pair
    connections(closes=True).close_promptly({"gunicorn.socket": ours, **more})
    assert not ended(ours)


def test_a_connection_that_the_worker_keeps_alive_is_left_alone(pair):
    ours, _ = pair
    connections(closes=False).close_promptly({"gunicorn.socket": ours})
    assert not ended(ours)


def test_a_socket_of_another_kind_is_left_alone(pair):
    class Tls(socket.socket):
        """Its shutdown would end the answer, too."""

    ours, _ = pair
    with Tls(fileno=ours.detach()) as tls:
        connections(closes=True).close_promptly({"gunicorn.socket": tls})
        tls.setblocking(False)
        assert not ended(tls)


def test_a_socket_that_is_closed_already_is_no_error(pair):
    ours, _ = pair
    ours.close()
    connections(closes=True).close_promptly({"gunicorn.socket": ours})
    connections(closes=True).close_promptly({})


def test_requests_that_wait_for_a_thread_of_gthread_are_in_the_queue_of_its_pool(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def work():
        begun.set()
        go_on.wait(10)

    class Worker:
        tpool = ThreadPoolExecutor(1)

    monkeypatch.setattr(gunicorn, "_worker", Worker)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = gunicorn._Connections(None)
        connections._listening = types.SimpleNamespace(get=lambda: (listener.fileno(),))
        queued = connections.queued()
        with Worker.tpool as pool:
            pool.submit(work)
            assert begun.wait(10)
            assert not queued()
            pool.submit(work)
            assert queued()
            go_on.set()
            assert wait_until(lambda: not queued(), 5)
            with socket.create_connection(listener.getsockname()):
                assert wait_until(queued, 5)
