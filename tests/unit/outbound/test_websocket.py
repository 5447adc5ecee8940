"""websocket-client: connecting is limited; frames are in a request, and nowhere else."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
import time

import pytest

from bench.outbound.hostile import black_holes
from resilient_wsgi import deadline
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install
from resilient_wsgi.request.running import RequestDeadline
from resilient_wsgi.settings.options import Outbound
from tests.unit.outbound.upstreams import Threaded

websocket = pytest.importorskip("websocket")

TOTAL = 0.3  # conftest.py
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


class Echo(Threaded):
    """An upstream that greets each connection with a frame, after so many seconds."""

    scheme = "ws"

    def __init__(self, after):
        self.after = after
        super().__init__()

    def serve(self, sock):
        with sock, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(4096)
            key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
            accepted = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest())
            sock.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
            )
            self.over.wait(self.after)
            sock.sendall(b"\x81\x05hello")
            self.over.wait(10)


@contextlib.contextmanager
def in_a_request(limit=10.0):
    request = RequestDeadline(
        time.monotonic(), limit, {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}
    )
    before = deadline.replace(request)
    try:
        yield
    finally:
        deadline.replace(before)


@contextlib.contextmanager
def opened(url, **options):
    made = websocket.create_connection(url, **options)
    try:
        yield made
    finally:
        made.shutdown()  # `close()` would wait for an answer


@pytest.mark.parametrize("path", ["silent", "drip_headers"])
def test_a_handshake_that_hangs_is_given_up_on(server, path):
    began = time.monotonic()
    with pytest.raises(
        websocket.WebSocketTimeoutException, match=r"phase headers .*limit 0\.3 s"
    ) as caught:
        websocket.create_connection(f"{server.url}/{path}".replace("http", "ws"))
    assert isinstance(caught.value, DeadlineExceeded)
    assert time.monotonic() - began < TOTAL + 0.5


def test_a_connection_that_is_never_made_is_given_up_on():
    install(Outbound(connect_timeout=0.3, read_timeout=60, total_timeout=60))
    with black_holes() as (addresses, port):
        with pytest.raises(socket.timeout, match=r"phase connect .*limit 0\.3 s") as caught:
            websocket.create_connection(f"ws://{addresses[0]}:{port}/")
    assert isinstance(caught.value, DeadlineExceeded)


def test_a_handshake_of_tls_that_hangs_is_given_up_on(server):
    install(Outbound(connect_timeout=0.3, read_timeout=60, total_timeout=60))
    with pytest.raises(socket.timeout, match=r"phase tls .*limit 0\.3 s"):
        websocket.create_connection(f"{server.url}/".replace("http", "wss"))


def test_a_number_of_the_callers_ends_in_what_the_client_raises_without_us(server, seen):
    with pytest.raises(websocket.WebSocketTimeoutException) as caught:
        websocket.create_connection(f"{server.url}/silent".replace("http", "ws"), timeout=0.1)
    assert type(caught.value) is websocket.WebSocketTimeoutException
    assert not seen


def test_outside_of_requests_a_connection_may_be_silent_for_as_long_as_it_likes():
    with Echo(TOTAL * 3) as echo, opened(echo.url) as made:
        assert made.sock.gettimeout() is None
        assert made.recv() == "hello"


def test_in_a_request_a_frame_is_waited_for_as_long_as_a_stream_may_be_silent():
    with Echo(10) as echo, in_a_request(), opened(echo.url) as made:
        began = time.monotonic()
        with pytest.raises(websocket.WebSocketTimeoutException, match=r"READ_TIMEOUT"):
            made.recv()
        assert time.monotonic() - began < TOTAL + 0.5
        assert made.sock.gettimeout() is None


def test_in_a_request_a_number_of_the_callers_is_kept():
    with Echo(TOTAL * 2) as echo, in_a_request(), opened(echo.url, timeout=5) as made:
        assert made.recv() == "hello"


def test_no_frame_is_waited_for_beyond_the_deadline():
    install(Outbound())
    with Echo(10) as echo, opened(echo.url, timeout=30) as made:
        with in_a_request(0.2), pytest.raises(DeadlineExceeded, match="request deadline"):
            made.recv()
        with deadline.limit(0.2), pytest.raises(websocket.WebSocketTimeoutException):
            made.recv()


def test_the_watchdog_of_requests_can_end_the_wait_for_a_frame():
    install(Outbound(read_timeout=None, total_timeout=None))
    with Echo(10) as echo, deadline.limit(30) as mine, opened(echo.url) as made:
        timer = threading.Timer(0.2, lambda: [wait.interrupt() for wait in list(mine.waits)])
        timer.start()
        with pytest.raises(websocket.WebSocketTimeoutException, match="ended from outside"):
            made.recv()
        timer.join()
