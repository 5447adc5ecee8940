"""Each client, on real sockets: it ends in time, with its own exception; nothing is left behind."""

from __future__ import annotations

import asyncio
import http.client
import pickle
import re
import socket
import time
import urllib.error
import urllib.request

import httpx
import pytest
import requests
import urllib3

from bench.outbound.hostile import Hostile
from bench.outbound.optional import aiohttp, httpx2, trio
from resilient_wsgi import deadline, events
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, timeouts, uninstall, unlimited
from resilient_wsgi.settings.options import Outbound

TOTAL = 0.3  # conftest.py


def by_http_client(url):
    conn = http.client.HTTPConnection(url.split("/")[2])
    try:
        conn.request("GET", "/" + url.split("/", 3)[3])
        return conn.getresponse().read()
    finally:
        conn.close()


def by_urllib_request(url):
    with urllib.request.urlopen(url) as response:
        return response.read()


def by_urllib3(url):
    with urllib3.PoolManager() as manager:
        return manager.request("GET", url).data


def by_requests(url):
    with requests.Session() as session:
        return session.get(url).content


def by_httpx(url, module=httpx):
    with module.Client(timeout=None, verify=False, follow_redirects=True) as client:
        return client.get(url).content


async def get(url, module=httpx):
    async with module.AsyncClient(timeout=None, verify=False, follow_redirects=True) as client:
        return (await client.get(url)).content


def by_httpx_on_asyncio(url):
    return asyncio.run(get(url))


CLIENTS = {
    by_http_client: socket.timeout,
    by_urllib_request: socket.timeout,
    by_urllib3: urllib3.exceptions.TimeoutError,
    by_requests: requests.Timeout,
    by_httpx: httpx.TimeoutException,
    by_httpx_on_asyncio: httpx.TimeoutException,
}
if trio is not None:

    def by_httpx_on_trio(url):
        return trio.run(get, url)

    CLIENTS[by_httpx_on_trio] = httpx.TimeoutException
if httpx2 is not None:

    def by_httpx2(url):
        return by_httpx(url, httpx2)

    def by_httpx2_on_asyncio(url):
        return asyncio.run(get(url, httpx2))

    CLIENTS[by_httpx2] = CLIENTS[by_httpx2_on_asyncio] = httpx2.TimeoutException
if aiohttp is not None:

    async def get_by_aiohttp(url):
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.read()

    def by_aiohttp(url):
        return asyncio.run(get_by_aiohttp(url))

    CLIENTS[by_aiohttp] = asyncio.TimeoutError
each_client = pytest.mark.parametrize("call", CLIENTS, ids=lambda f: f.__name__)


@each_client
@pytest.mark.parametrize(
    "behaviour",
    ["silent", "drip_headers", "drip_body", "drip_chunks", "drip_gzip", "continues"],
)
def test_a_call_ends_in_time_with_the_clients_own_exception(server, call, behaviour):
    began = time.monotonic()
    with pytest.raises(CLIENTS[call]) as caught:
        call(f"{server.url}/{behaviour}")
    assert TOTAL - 0.01 <= time.monotonic() - began < TOTAL + 1
    assert isinstance(caught.value, DeadlineExceeded)
    assert re.match(
        r"gave up on 127\.0\.0\.1 in phase (headers|body) after \d\.\d\d s: ", str(caught.value)
    )
    assert f"limit {TOTAL} s (OUTBOUND." in str(caught.value)


@each_client
def test_a_healthy_call_is_not_touched(server, call):
    install(Outbound())  # the first call of a client takes its time on a busy machine
    assert call(f"{server.url}/ok") == b"ok"


@each_client
def test_an_answer_that_others_come_before_is_what_it_is_without_limits(server, call):
    def outcome():
        try:
            return call(f"{server.url}/early_hints")
        except urllib.error.HTTPError as error:  # as urllib.request takes an answer of 103
            with error:
                return error.code

    with_limits = outcome()
    uninstall()
    assert with_limits == outcome()


@each_client
def test_no_call_outlives_the_deadline_of_the_request(server, call):
    began = time.monotonic()
    with (
        deadline.limit(0.1, "request deadline of POST /pay"),
        pytest.raises(CLIENTS[call], match=r"deadline of POST /pay"),
    ):
        call(f"{server.url}/drip_headers")
    assert time.monotonic() - began < TOTAL


@each_client
def test_the_limits_of_a_block_hold_over_the_settings(server, call):
    with (
        timeouts(total=0.1),
        pytest.raises(CLIENTS[call], match=r"limit 0.1 s \(outbound.timeouts\(total=\)\)"),
    ):
        call(f"{server.url}/drip_body")


@each_client
def test_nothing_is_limited_where_it_was_asked_for_with_a_reason(call):
    with Hostile(seconds=TOTAL * 2) as server, unlimited("a test"):
        assert call(f"{server.url}/drip_body") == b"x" * 30


@each_client
def test_the_event_says_what_the_message_says(server, call, seen):
    with pytest.raises(CLIENTS[call]):
        call(f"{server.url}/drip_body")
    assert [(type(e), e.host, e.phase, e.limit) for e in seen] == [
        (events.OutboundTimedOut, "127.0.0.1", "body", TOTAL)
    ]


@each_client
def test_the_exception_can_be_pickled(server, call):
    with timeouts(total=0.05), pytest.raises(CLIENTS[call]) as caught:
        call(f"{server.url}/silent")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, CLIENTS[call])
    assert isinstance(copy, DeadlineExceeded)
    assert str(copy) == str(caught.value)


def test_what_requests_raises_has_the_request_and_the_reason_that_requests_puts_there(server):
    with pytest.raises(requests.ReadTimeout) as caught:
        by_requests(f"{server.url}/drip_body")
    assert caught.value.request.url.endswith("/drip_body")
    assert isinstance(caught.value.args[0], urllib3.exceptions.ReadTimeoutError)


def test_uninstalling_restores_what_was_there():
    from urllib3.connectionpool import HTTPConnectionPool

    install(Outbound())
    assert hasattr(requests.Session.send, "__wrapped__")
    uninstall()
    for method in (
        requests.Session.send,
        requests.Response.iter_content,
        HTTPConnectionPool.urlopen,
        urllib3.response.HTTPResponse.read,
        http.client.HTTPConnection.connect,
        http.client.HTTPResponse.__init__,
        httpx.Client.send,
        urllib.request.OpenerDirector.open,
        urllib3.util.connection.create_connection,
    ):
        assert not hasattr(method, "__wrapped__"), method


def test_nothing_but_the_http_clients_is_touched():
    assert socket.socket.__module__ == "socket"
    assert not hasattr(socket.create_connection, "__wrapped__")
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("call", [call for call in CLIENTS if call is not by_http_client])
def test_redirects_that_take_their_time_are_part_of_the_call(call):
    with Hostile(seconds=0.8) as server, timeouts(total=0.25, read=5):
        began = time.monotonic()
        with pytest.raises(CLIENTS[call]):
            call(f"{server.url}/redirect/9")
        assert 0.24 <= time.monotonic() - began < 1.5
        assert server.connections
