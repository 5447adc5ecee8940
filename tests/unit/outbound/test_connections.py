"""Connections: made in time, not reused once cut, their sockets left as they were."""

from __future__ import annotations

import contextlib
import gc
import http.client
import socket
import ssl
import threading
import time

import httpx
import pytest
import requests
import urllib3

from bench.outbound.hostile import Hostile, black_holes, certificate, names
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, timeouts
from resilient_wsgi.outbound.connect import ATTEMPT_DELAY
from resilient_wsgi.settings.options import Outbound

# on CPython 3.9 sockets of calls that were given up on are left to the garbage collector, which is
# to run here and not elsewhere
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture(autouse=True)
def _collected():
    yield
    gc.collect()


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_socket_has_its_own_timeout_again_after_the_response(server, timeout):
    install(Outbound())
    conn = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    for _ in range(2):
        conn.request("GET", "/ok")
        assert conn.sock.gettimeout() == timeout
        assert conn.getresponse().read() == b"ok"
        assert conn.sock.gettimeout() == timeout
    conn.close()


def test_a_connection_is_kept_alive_as_without_limits():
    install(Outbound())
    with Hostile() as server, requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{server.url}/ok").content == b"ok"
        assert server.connections == 1


def test_a_connection_that_was_cut_is_not_used_again():
    with Hostile() as server, requests.Session() as session, urllib3.PoolManager() as manager:
        with pytest.raises(requests.Timeout):
            session.get(f"{server.url}/drip_body")
        assert session.get(f"{server.url}/ok").content == b"ok"
        assert server.connections == 2
        with pytest.raises(urllib3.exceptions.TimeoutError):
            manager.request("GET", f"{server.url}/drip_body", retries=False)
        assert manager.request("GET", f"{server.url}/ok").data == b"ok"
        assert server.connections == 4


def test_a_connection_of_http_client_that_was_cut_is_of_no_use(server):
    conn = http.client.HTTPConnection("127.0.0.1", server.port)
    conn.request("GET", "/drip_body")
    response = conn.getresponse()
    with pytest.raises(socket.timeout):
        response.read()
    with pytest.raises(OSError):
        conn.sock.send(b"GET / HTTP/1.0\r\n\r\n")
        conn.sock.send(b"GET / HTTP/1.0\r\n\r\n")
    response.close()
    conn.close()


def test_a_pool_with_one_connection_is_as_good_as_new_after_a_timeout(server):
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, block=True) as pool:
        for _ in range(3):
            with pytest.raises(urllib3.exceptions.TimeoutError):
                pool.request("GET", "/drip_body", retries=False)
            assert pool.request("GET", "/ok").data == b"ok"


def test_the_second_address_is_tried_while_the_first_is_a_black_hole():
    install(Outbound())
    with (
        black_holes(1) as (holes, port),
        Hostile(address=("127.0.0.2", port)),
        names({"two.test": [*holes, "127.0.0.2"]}),
    ):
        began = time.monotonic()
        assert requests.get(f"http://two.test:{port}/ok").content == b"ok"
        assert ATTEMPT_DELAY - 0.01 <= time.monotonic() - began < ATTEMPT_DELAY + 1


def test_an_address_that_refuses_is_passed_over_at_once():
    install(Outbound())
    with (
        Hostile(address=("127.0.0.2", 0)) as server,
        names({"two.test": ["127.0.0.1", "127.0.0.2"]}),
    ):
        # what is imported and read once is not to count
        requests.get(f"http://127.0.0.2:{server.port}/ok")
        began = time.monotonic()
        assert requests.get(f"http://two.test:{server.port}/ok").content == b"ok"
        assert time.monotonic() - began < ATTEMPT_DELAY


def test_all_addresses_share_the_limit_for_connecting():
    install(Outbound(connect_timeout=0.4))
    with black_holes(3) as (holes, port), names({"dead.test": holes}):
        began = time.monotonic()
        with pytest.raises(
            requests.ConnectTimeout,
            match=r"in phase connect .* limit 0.4 s \(OUTBOUND.CONNECT_TIMEOUT\)",
        ):
            requests.get(f"http://dead.test:{port}/")
        assert 0.39 <= time.monotonic() - began < 1.2


def test_the_callers_number_for_connecting_holds_over_all_addresses():
    install(Outbound())
    with black_holes(3) as (holes, port), names({"dead.test": holes}):
        began = time.monotonic()
        with pytest.raises(requests.ConnectTimeout, match=r"connect timeout=0\.3"):
            requests.get(f"http://dead.test:{port}/", timeout=0.3)
        assert 0.29 <= time.monotonic() - began < 1.2


def test_a_slow_dns_does_not_use_up_a_short_timeout_of_the_callers(monkeypatch, server):
    install(Outbound())
    real = socket.getaddrinfo

    def slow(*question):
        time.sleep(0.3)
        return real("127.0.0.1", *question[1:])

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert requests.get(f"http://slow.test:{server.port}/ok", timeout=0.25).content == b"ok"


def test_a_dead_dns_does_not_outlast_a_timeout_of_the_callers():
    install(Outbound())
    with (
        names({}, stall=6),
        pytest.raises(requests.ConnectTimeout, match=r"connect timeout=1\.1"),
    ):
        requests.get("http://one.stalled.test/", timeout=1.1)


def test_what_is_no_matter_of_time_is_raised_as_ever():
    unused = socket.create_server(("127.0.0.1", 0))
    port = unused.getsockname()[1]
    unused.close()
    with pytest.raises(requests.ConnectionError, match="Connection refused") as caught:
        requests.get(f"http://127.0.0.1:{port}/")
    assert not isinstance(caught.value, DeadlineExceeded)
    conn = http.client.HTTPConnection("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        conn.request("GET", "/")
    with (
        pytest.raises(requests.ConnectionError, match=r"Failed to (resolve|establish)") as caught,
        names({}, stall=0),
    ):
        requests.get("http://unknown.stalled.test/")
    assert not isinstance(caught.value, DeadlineExceeded)


def test_a_handshake_that_hangs_is_part_of_connecting(server):
    install(Outbound(connect_timeout=0.2))
    context = ssl.create_default_context()
    conn = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
    with pytest.raises(
        socket.timeout, match=r"in phase tls .* limit 0.2 s \(OUTBOUND.CONNECT_TIMEOUT\)"
    ):
        conn.request("GET", "/silent")
    conn.close()


def test_sockets_that_others_have_replaced_connect_in_their_own_way(monkeypatch):
    install(Outbound(connect_timeout=0.4))

    class Guarded(socket.socket):
        def connect_ex(self, address):
            raise AssertionError

    with black_holes(1) as (holes, port), names({"two.test": [*holes, "127.0.0.2"]}):
        with Hostile(address=("127.0.0.2", port)):
            monkeypatch.setattr(socket, "socket", Guarded)
            began = time.monotonic()
            assert requests.get(f"http://two.test:{port}/ok").content == b"ok"
            assert time.monotonic() - began < 1


def test_a_pause_before_a_retry_that_fits_is_slept(server):
    retries = urllib3.Retry(2, backoff_factor=0.05, status_forcelist=[503], raise_on_status=False)
    with urllib3.PoolManager() as manager, timeouts(total=2):
        began = time.monotonic()
        assert manager.request("GET", f"{server.url}/retry_after/0", retries=retries).status == 503
        assert time.monotonic() - began >= 0.09


class OwnPause(urllib3.Retry):
    """Says itself how long to wait, as those with a jitter of their own do."""

    asked = 0

    def get_backoff_time(self):
        OwnPause.asked += 1
        return 60


class OwnRetryAfter(urllib3.Retry):
    def get_retry_after(self, response):
        return 60


class OwnSleep(urllib3.Retry):
    """Sleeps as long as it likes."""

    slept = 0

    def sleep(self, response=None):
        OwnSleep.slept += 1
        time.sleep(0.3)


@pytest.mark.parametrize("kind", [OwnPause, OwnRetryAfter])
def test_a_pause_that_a_retry_class_of_the_apps_decides_on_is_not_begun_if_it_is_too_long(
    server, kind
):
    retries = kind(2, status_forcelist=[503], respect_retry_after_header=kind is OwnRetryAfter)
    OwnPause.asked = 0
    began = time.monotonic()
    with (
        urllib3.PoolManager() as manager,
        pytest.raises(
            urllib3.exceptions.ReadTimeoutError, match="pause of 60 s before the next try"
        ),
    ):
        manager.request("GET", f"{server.url}/retry_after/0", retries=retries)
    assert time.monotonic() - began < 1
    assert OwnPause.asked == (kind is OwnPause)


def test_a_retry_class_that_sleeps_by_itself_does_not_do_so_once_the_time_is_up(server):
    OwnSleep.slept = 0
    retries = OwnSleep(9, status_forcelist=[503])
    began = time.monotonic()
    with urllib3.PoolManager() as manager, pytest.raises(urllib3.exceptions.ReadTimeoutError):
        manager.request("GET", f"{server.url}/retry_after/0", retries=retries)
    assert time.monotonic() - began < 1
    assert OwnSleep.slept == 1


def test_a_pause_of_a_retry_class_of_the_apps_that_fits_is_slept(server):
    class Short(OwnPause):
        def get_backoff_time(self):
            return 0.05

    retries = Short(2, status_forcelist=[503], raise_on_status=False)
    with urllib3.PoolManager() as manager, timeouts(total=2):
        began = time.monotonic()
        assert manager.request("GET", f"{server.url}/retry_after/0", retries=retries).status == 503
        assert time.monotonic() - began >= 0.09


def through_http_client(proxy):
    connection = http.client.HTTPSConnection(*proxy)
    connection.set_tunnel("upstream.invalid", 443)
    with contextlib.closing(connection):
        connection.request("GET", "/")


def through_requests(proxy):
    requests.get("https://upstream.invalid/", proxies={"https": "http://{}:{}".format(*proxy)})


def through_urllib3(proxy):
    with urllib3.ProxyManager("http://{}:{}".format(*proxy)) as manager:
        manager.request("GET", "https://upstream.invalid/", retries=False)


def through_httpx(proxy):
    # Client(proxy=) is httpx 0.26's, and 0.28 knows proxies= no more
    transport = httpx.HTTPTransport(proxy=httpx.Proxy("http://{}:{}".format(*proxy)), verify=False)
    with httpx.Client(mounts={"https://": transport}, timeout=None) as client:
        client.get("https://upstream.invalid/")


@pytest.mark.parametrize(
    "ask", [through_http_client, through_requests, through_urllib3, through_httpx]
)
def test_a_proxy_that_hangs_in_connect_is_given_up_on_with_the_limit_for_connecting(server, ask):
    install(Outbound(connect_timeout=0.3, read_timeout=60, total_timeout=60))
    began = time.monotonic()
    with pytest.raises(
        DeadlineExceeded,
        match=r"in phase connect after 0.3\d s: limit 0.3 s \(OUTBOUND.CONNECT_TIMEOUT\)",
    ):
        ask(("127.0.0.1", server.port))
    assert time.monotonic() - began < 1


class SilentHttp2:
    """An upstream that takes calls over HTTP/2 and answers none."""

    def __init__(self, path, settings):
        self.settings = settings
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        self.context.set_alpn_protocols(["h2"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock = self.context.wrap_socket(self.listener.accept()[0], server_side=True)
                sock.sendall(self.settings)
                self.connections.append(sock)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.listener.close()
        for sock in self.connections:
            sock.close()


# RFC 9113, 6.5: without a number of concurrent streams httpx takes one; with one of them a hundred
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (b"\0\0\0\4\0\0\0\0\0", httpx.PoolTimeout),
        (b"\0\0\6\4\0\0\0\0\0" + b"\0\3\0\0\0\x64", httpx.ReadTimeout),
    ],
    ids=["a free stream", "the connection's reader"],
)
def test_a_call_over_http2_does_not_wait_longer_for_another_one_on_its_connection(
    tmp_path, settings, error
):
    pytest.importorskip("h2")
    install(Outbound(connect_timeout=5, read_timeout=60, total_timeout=60))
    upstream = SilentHttp2(certificate(str(tmp_path)), settings)
    url = f"https://127.0.0.1:{upstream.port}/"
    with httpx.Client(http2=True, timeout=None, verify=False) as client:
        reader = threading.Thread(target=lambda: suppressed(client.get, url), daemon=True)
        reader.start()
        time.sleep(0.5)  # it reads from the connection, and has its only stream
        began = time.monotonic()
        with (
            timeouts(total=0.5),
            pytest.raises(error, match=r"limit 0.5 s \(outbound.timeouts\(total=\)\)"),
        ):
            client.get(url)
        assert time.monotonic() - began < 1
        assert len(upstream.connections) == 1
        upstream.close()
        reader.join(5)
        assert not reader.is_alive()


def suppressed(call, *args):
    with contextlib.suppress(httpx.HTTPError):
        call(*args)
