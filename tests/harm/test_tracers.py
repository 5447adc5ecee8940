"""Tracers wrap the same methods with wrapt, before or after: each wrapper sees its instance and its
arguments, and limits hold.
"""

from __future__ import annotations

import http.client
import threading
import urllib.request
from importlib import import_module

import httpx
import pytest
import requests
import urllib3
import wrapt

from bench.outbound.hostile import Hostile
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, timeouts, uninstall
from resilient_wsgi.settings.options import Outbound

# what ddtrace, newrelic, OpenTelemetry, elastic-apm and sentry-sdk wrap, and what we do
METHODS = (
    "http.client:HTTPConnection.connect", "http.client:HTTPConnection.send",
    "http.client:HTTPConnection.getresponse",
    "http.client:HTTPConnection.close", "http.client:HTTPResponse.__init__",
    "urllib.request:OpenerDirector.open",
    "urllib3.connectionpool:HTTPConnectionPool.urlopen", "urllib3.poolmanager:PoolManager.urlopen",
    "urllib3.connection:HTTPConnection.connect", "urllib3.response:HTTPResponse.read",
    "urllib3.util.retry:Retry.increment",
    "requests:Session.send", "requests:Session.request", "requests.adapters:HTTPAdapter.send",
    "requests:Response.iter_content",
    "httpx:Client.send", "httpx:Client._send_single_request", "httpx:Response.iter_raw",
    "httpcore._backends.sync:SyncBackend.connect_tcp", "httpcore._backends.sync:SyncStream.read",
)  # fmt: skip


def by_requests(url):
    with requests.Session() as session:
        return session.get(url).content


def by_urllib3(url):
    with urllib3.PoolManager(retries=urllib3.Retry(0)) as manager:
        return manager.request("GET", url).data


def by_httpx(url):
    with httpx.Client(timeout=None, verify=False) as client:
        return client.get(url).content


def by_http_client(url):
    connection = http.client.HTTPConnection(url.split("/")[2])
    try:
        connection.request("GET", "/" + url.split("/", 3)[3])
        return connection.getresponse().read()
    finally:
        connection.close()


def by_urllib_request(url):
    with urllib.request.urlopen(url) as response:
        return response.read()


CALLS = (by_requests, by_urllib3, by_httpx, by_http_client, by_urllib_request)


def trace(monkeypatch):
    """Wrap each method; return what the wrappers have seen in this thread: others may be left of
    tests before.
    """
    seen, here = [], threading.get_ident()

    def tracer(wrapped, instance, args, kwargs):
        what = (wrapped.__name__, type(instance).__name__, bool(args) and args[0] is instance)
        if threading.get_ident() == here:
            seen.append(what)
        return wrapped(*args, **kwargs)

    for method in METHODS:
        module, _, path = method.partition(":")
        kind, _, name = path.partition(".")
        owner = getattr(import_module(module), kind)
        if name in vars(owner):
            monkeypatch.setattr(owner, name, wrapt.FunctionWrapper(vars(owner)[name], tracer))
    return seen


@pytest.fixture(scope="module")
def server():
    with Hostile() as hostile:
        yield hostile


@pytest.fixture
def limits():
    yield Outbound()
    uninstall()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("tracer_first", [True, False])
def test_wrappers_see_what_they_see_without_the_library_and_limits_hold(
    monkeypatch, server, limits, call, tracer_first
):
    uninstall()
    with monkeypatch.context() as plain:
        expected = trace(plain)
        assert call(f"{server.url}/ok") == b"ok"
    if tracer_first:
        seen = trace(monkeypatch)
        install(limits)
    else:
        install(limits)
        seen = trace(monkeypatch)
    assert call(f"{server.url}/ok") == b"ok"
    # http.client connects when it sends, we before it does: the order may differ
    assert sorted(seen) == sorted(expected)
    assert seen
    with timeouts(read=0.2), pytest.raises(DeadlineExceeded):
        call(f"{server.url}/silent")


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        ("urllib3.util.connection", "create_connection", by_urllib3),
        ("httpcore._backends.sync:SyncBackend", "connect_tcp", by_httpx),
    ],
)
def test_a_guard_that_a_client_was_given_before_us_is_asked(
    monkeypatch, server, limits, owner, name, call
):
    module, _, kind = owner.partition(":")
    place = getattr(import_module(module), kind) if kind else import_module(module)

    def refuse(*args, **kwargs):
        raise OSError("refused by the guard")

    monkeypatch.setattr(place, name, refuse)
    install(limits)
    with pytest.raises(Exception, match="refused by the guard"):
        call(f"{server.url}/ok")
    uninstall()
