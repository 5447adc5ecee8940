"""There is one way to an upstream: `call.admit`."""

from __future__ import annotations

import ast
import contextlib
import http.client
from pathlib import Path

import httpx
import pytest
import requests
import urllib3

from resilient_wsgi import outbound
from resilient_wsgi.outbound import call
from resilient_wsgi.outbound.exchange import active

FOLDER = Path(outbound.__file__).parent


def calls_of(name):
    """Return the modules that call a function or a method of this name."""
    return {
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
    }


def test_nothing_else_makes_an_exchange_or_leads_one_to_another_host():
    assert calls_of("Exchange") == {"call.py"}
    assert calls_of("visit") == {"call.py", "exchange.py"}


@pytest.fixture
def admitted(monkeypatch):
    """The targets that were admitted, and whether each was a hop of a call under way."""
    seen = []
    admit = call.admit

    def note(target, *more, **named):
        seen.append((target, active.get() is not None))
        return admit(target, *more, **named)

    monkeypatch.setattr(call, "admit", note)
    return seen


def by_http_client(url):
    connection = http.client.HTTPConnection(url.split("/")[2])
    connection.request("GET", "/ok")
    with contextlib.closing(connection), connection.getresponse() as response:
        return response.read()


def by_urllib3(url):
    with urllib3.PoolManager() as manager:
        return manager.request("GET", url).data


@pytest.mark.parametrize(
    ("ask", "hops"),
    [
        (by_http_client, 0),
        (by_urllib3, 0),
        (lambda url: requests.get(url).content, 0),
        (lambda url: httpx.get(url).content, 1),  # each request of a call is one
    ],
    ids=["http.client", "urllib3", "requests", "httpx"],
)
def test_a_call_is_admitted_once_and_begins_an_exchange(ask, hops, server, admitted):
    assert ask(f"{server.url}/ok") == b"ok"
    assert [hop for _, hop in admitted] == [False] + [True] * hops


def test_what_a_hook_calls_meanwhile_is_a_hop_of_the_call_under_way(server, admitted):
    url = f"{server.url}/ok"

    def hook(response, **_named):
        requests.get(url)

    assert requests.get(url, hooks={"response": hook}).content == b"ok"
    assert [hop for _, hop in admitted] == [False, True]
    assert active.get() is None


def test_nothing_is_admitted_where_outbound_is_off(server, admitted):
    outbound.uninstall()
    assert call.admit(server.url) is None
    assert requests.get(f"{server.url}/ok").content == b"ok"
