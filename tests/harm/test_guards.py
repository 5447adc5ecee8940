"""What a guard, a test or a clock library has replaced is called, not bypassed."""

from __future__ import annotations

import http.client
import http.server
import socket
import sys
from unittest import mock

import httpx
import pytest
import requests
import urllib3

import resilient_wsgi
from resilient_wsgi.outbound import install, uninstall
from resilient_wsgi.settings.options import Outbound
from tests.harm.clients import by_httpx, by_requests, by_urllib3, by_urllib_request
from tests.harm.upstream import answering

THE_REST = ("STDERR", "THREADS", "READINESS", "REQUEST", "OVERLOAD", "BACKLOG")


class Blocked(RuntimeError):
    """What pytest-socket raises is no OSError either."""


@pytest.fixture(scope="module")
def url():
    with answering() as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(autouse=True)
def _installed():
    install(Outbound())
    yield
    uninstall()


def by_http_client(url):
    connection = http.client.HTTPConnection(url.split("/")[2])
    try:
        connection.request("POST", "/", body=b"x" * 100)
        with connection.getresponse() as response:
            return response.read()
    finally:
        connection.close()


ALL = pytest.mark.parametrize(
    "ask", [by_http_client, by_urllib_request, by_urllib3, by_requests, by_httpx]
)


@ALL
@pytest.mark.parametrize("error", [OSError("blocked"), Blocked()])
def test_a_guard_on_connect_is_asked(url, ask, error):
    def guard(sock, address):
        asked.append(address)
        raise error

    asked = []
    with mock.patch.object(socket.socket, "connect", guard), pytest.raises(Exception) as caught:
        ask(url)
    assert asked
    assert "blocked" in repr(caught.value) or isinstance(caught.value, Blocked)
    assert ask(url) == b"ok"


@ALL
def test_a_guard_that_has_put_the_original_connect_back_is_none_any_more(url, ask):
    original = socket.socket.connect
    socket.socket.connect = original  # as pytest-socket does
    try:
        assert ask(url) == b"ok"
    finally:
        del socket.socket.connect


@pytest.mark.parametrize("ask", [by_http_client, by_urllib_request, by_httpx])
def test_a_create_connection_that_was_replaced_is_called(url, ask):
    with (
        mock.patch(
            "socket.create_connection", side_effect=OSError("no network in tests")
        ) as replaced,
        pytest.raises((OSError, httpx.ConnectError), match="no network in tests"),
    ):
        ask(url)
    assert replaced.called
    real = socket.create_connection
    with mock.patch("socket.create_connection", side_effect=real) as replaced:
        assert ask(url) == b"ok"
    assert replaced.called


@pytest.mark.parametrize("ask", [by_urllib3, by_requests])
def test_urllib3_s_create_connection_that_was_replaced_is_called(url, ask):
    with (
        mock.patch(
            "urllib3.util.connection.create_connection", side_effect=OSError("no network")
        ) as replaced,
        pytest.raises((urllib3.exceptions.HTTPError, requests.ConnectionError), match="no network"),
    ):
        ask(url)
    assert replaced.called


@pytest.mark.skipif(sys.version_info < (3, 10), reason="an audit hook stays for good")
@pytest.mark.parametrize("error", [OSError("blocked"), Blocked("blocked")])
def test_an_audit_hook_that_refuses_a_connection_is_heard(url, error):
    on = [True]

    def hook(event, args):
        if on and event == "socket.connect":
            raise error

    sys.addaudithook(hook)
    try:
        for ask in (by_urllib3, by_httpx):
            with pytest.raises(Exception, match="blocked"):
                ask(url)
    finally:
        on.clear()


class NoSocket:
    """A test's stand-in for a connection, as httpretty makes it: it has every attribute, and raises
    what it likes.
    """

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        raise Blocked(name)

    def sendall(self, data):
        pass

    def makefile(self, *args, **kwargs):
        import io

        return io.BytesIO(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def settimeout(self, timeout):
        pass

    def setsockopt(self, *option):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("ask", [by_http_client, by_urllib_request])
def test_a_stand_in_that_is_no_socket_is_left_alone(ask):
    with mock.patch("socket.create_connection", NoSocket):
        assert ask("http://api.example/x") == b"ok"


# httpretty's own, since CPython 3.12
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize("ask", [by_http_client, by_urllib_request, by_httpx])
def test_httpretty_answers(ask):
    httpretty = pytest.importorskip("httpretty")
    with httpretty.enabled(allow_net_connect=False):
        for method in (httpretty.GET, httpretty.POST):
            httpretty.register_uri(method, "http://api.example/", body="hello")
        assert ask("http://api.example/") == b"hello"


@ALL
def test_a_clock_that_a_test_turns_ends_no_call(url, ask):
    freezegun = pytest.importorskip("freezegun")
    installation = resilient_wsgi.install(
        {**dict.fromkeys(THE_REST, "off"), "OUTBOUND": {"TOTAL_TIMEOUT": 20}}
    )
    try:
        with freezegun.freeze_time("2030-01-01", auto_tick_seconds=15):
            assert ask(url) == b"ok"
    finally:
        installation.uninstall()
