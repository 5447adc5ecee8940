"""Whose limit holds: the caller's number, an explicit None, the total of a call and of a stream."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.request

import httpx
import pytest
import requests
import urllib3

from bench.outbound.hostile import Hostile
from resilient_wsgi import deadline, events
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, timeouts
from resilient_wsgi.settings.options import Outbound

TOTAL = 0.3  # conftest.py


@pytest.fixture
def brief():
    """An upstream that goes on for three times the total, in which it is never silent for long."""
    with Hostile(seconds=TOTAL * 3) as hostile:
        yield hostile


def test_what_a_number_of_the_callers_ends_in_is_what_the_client_raises_without_us(server):
    with pytest.raises(
        requests.ReadTimeout, match=r"Read timed out. \(read timeout=0.05\)$"
    ) as caught:
        requests.get(f"{server.url}/silent", timeout=0.05)
    assert type(caught.value) is requests.ReadTimeout
    assert type(caught.value.args[0]) is urllib3.exceptions.ReadTimeoutError
    with (
        pytest.raises(
            urllib3.exceptions.ReadTimeoutError, match=r"Read timed out. \(read timeout=0.05\)$"
        ) as caught,
        urllib3.PoolManager(retries=False) as manager,
    ):
        manager.request("GET", f"{server.url}/silent", timeout=0.05)
    assert type(caught.value) is urllib3.exceptions.ReadTimeoutError
    with (
        pytest.raises(httpx.ReadTimeout, match=r"^timed out$") as caught,
        httpx.Client(timeout=0.05, verify=False) as client,
    ):
        client.get(f"{server.url}/silent")
    assert type(caught.value) is httpx.ReadTimeout
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.05)
    connection.request("GET", "/silent")
    with pytest.raises(socket.timeout, match=r"^timed out$") as caught:
        connection.getresponse()
    assert type(caught.value) is socket.timeout
    connection.close()


def test_retries_go_on_after_a_number_of_the_callers_and_no_event_is_made_of_it(server, seen):
    before = server.connections
    with (
        pytest.raises(urllib3.exceptions.MaxRetryError, match=r"read timeout=0\.05"),
        urllib3.PoolManager(retries=urllib3.Retry(2, backoff_factor=0)) as manager,
    ):
        manager.request("GET", f"{server.url}/silent", timeout=0.05)
    assert server.connections == before + 3
    assert not seen


def test_a_number_of_the_callers_does_not_extend_the_total(server):
    with pytest.raises(requests.Timeout, match=r"limit 0.3 s \(OUTBOUND.TOTAL_TIMEOUT\)"):
        requests.get(f"{server.url}/silent", timeout=60)


def test_a_stream_of_requests_is_limited_up_to_its_headers_then_by_silence(brief):
    with requests.get(f"{brief.url}/drip_body", stream=True) as response:
        assert b"".join(response.iter_content(1)) == b"x" * 30
    with requests.get(f"{brief.url}/drip_body", stream=True) as response:
        assert response.content == b"x" * 30
    with pytest.raises(requests.Timeout, match="in phase headers"):
        requests.get(f"{brief.url}/drip_headers", stream=True)


def test_a_stream_of_urllib3_is_limited_up_to_its_headers_then_by_silence(brief):
    with urllib3.PoolManager() as manager:
        for path in ("drip_body", "drip_chunks"):
            response = manager.request("GET", f"{brief.url}/{path}", preload_content=False)
            assert b"".join(response.stream(1)).strip(b"x") == b""


def test_a_stream_of_httpx_is_limited_up_to_its_headers_then_by_silence(brief):
    with httpx.Client(timeout=None, verify=False) as client:
        with client.stream("GET", f"{brief.url}/drip_body") as response:
            assert response.read() == b"x" * 30


def streams(url):
    def by_requests():
        with requests.get(url, stream=True) as response:
            for _ in response.iter_content(1):
                pass

    def by_urllib3():
        with urllib3.PoolManager() as manager:
            for _ in manager.request("GET", url, preload_content=False).stream(1):
                pass

    def by_httpx():
        with (
            httpx.Client(timeout=None, verify=False) as client,
            client.stream("GET", url) as response,
        ):
            for _ in response.iter_raw():
                pass

    return {
        by_requests: requests.ConnectionError,
        by_urllib3: urllib3.exceptions.ReadTimeoutError,
        by_httpx: httpx.ReadTimeout,
    }


@pytest.mark.parametrize("path", ["drip_body", "drip_chunks"])
def test_a_stream_that_falls_silent_is_given_up_on_in_the_clients_own_exception(path):
    # a byte every 0.2 s or more: always longer than this limit of silence
    with Hostile(seconds=25) as server:
        for read, error in streams(f"{server.url}/{path}").items():
            with (
                timeouts(read=0.15, total=60),
                pytest.raises(
                    error, match=r"in phase body .* \(outbound.timeouts\(read=\)\)"
                ) as caught,
            ):
                read()
            assert isinstance(caught.value, DeadlineExceeded)


def test_a_stream_does_not_outlive_the_deadline_of_the_request(brief):
    for read, error in streams(f"{brief.url}/drip_body").items():
        with (
            deadline.limit(0.3, "the request's deadline"),
            pytest.raises(error, match="the request's deadline"),
        ):
            read()


def test_server_sent_events_keep_only_the_limit_of_silence(brief):
    with urllib.request.urlopen(f"{brief.url}/events") as response:
        assert response.read() == b"x" * 30


def test_an_upgraded_connection_keeps_nothing_of_ours(brief):
    host = brief.url.split("/")[2]
    conn = http.client.HTTPConnection(host, timeout=7)
    conn.request("GET", "/upgrade", headers={"Upgrade": "websocket"})
    response = conn.getresponse()
    assert response.status == 101
    assert conn.sock.gettimeout() == 7
    assert response.fp.read(30) == b"x" * 30
    response.close()
    conn.close()


@pytest.mark.parametrize("word", ["respect", "report"])
def test_an_explicit_none_is_respected_where_the_settings_say_so(brief, seen, word):
    install(
        Outbound(connect_timeout=TOTAL, read_timeout=TOTAL, total_timeout=TOTAL, explicit_none=word)
    )
    url = f"{brief.url}/drip_body"
    with urllib3.PoolManager() as manager, httpx.Client(timeout=None, verify=False) as client:
        asked = (
            lambda: requests.get(url, timeout=None).content,
            lambda: manager.request("GET", url, timeout=None).data,
            lambda: client.get(url).content,
            lambda: urllib.request.urlopen(url, timeout=None).read(),
        )
        for ask in asked:
            assert ask() == b"x" * 30
    with pytest.raises(requests.Timeout):
        requests.get(url)
    with urllib3.PoolManager() as manager, pytest.raises(urllib3.exceptions.TimeoutError):
        manager.request("GET", url)
    reported = [e for e in seen if isinstance(e, events.OutboundUnbounded)]
    assert len(reported) == (4 if word == "report" else 0)


def test_the_deadline_of_the_request_holds_for_an_explicit_none_too(server):
    install(Outbound(explicit_none="respect"))
    with deadline.limit(0.1), pytest.raises(requests.Timeout, match=r"deadline\.limit"):
        requests.get(f"{server.url}/silent", timeout=None)


def test_hosts_have_limits_of_their_own(server):
    install(Outbound(hosts={f"127.0.0.1:{server.port}": {"total_timeout": 0.1}}))
    for host in ("127.0.0.1", "localhost"):
        began = time.monotonic()
        with timeouts(read=0.3), pytest.raises(requests.Timeout) as caught:
            requests.get(f"http://{host}:{server.port}/silent")
        if host == "127.0.0.1":
            assert f"limit 0.1 s (HOSTS['127.0.0.1:{server.port}'] TOTAL_TIMEOUT)" in str(
                caught.value
            )
        else:
            assert "(outbound.timeouts(read=))" in str(caught.value)
        assert time.monotonic() - began < 2


def test_each_thread_has_its_own_exchange(server):
    ended = {}

    def ask(total):
        began = time.monotonic()
        with timeouts(total=total, read=5), pytest.raises(requests.Timeout):
            requests.get(f"{server.url}/silent")
        ended[total] = time.monotonic() - began

    threads = [threading.Thread(target=ask, args=(total,)) for total in (0.1, 0.4, 0.7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for total, took in ended.items():
        assert total - 0.01 <= took < total + 0.29
