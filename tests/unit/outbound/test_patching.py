"""Patches: loaded before or after, wrapped by others before or after, taken away again."""

from __future__ import annotations

import subprocess
import sys

import pytest
import requests
import wrapt

from resilient_wsgi.outbound import install, uninstall
from resilient_wsgi.settings.options import Outbound


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_no_client_is_imported_and_those_that_come_later_are_patched():
    output = run(
        "import sys, resilient_wsgi.outbound as outbound\n"
        "means = outbound.install()\n"
        "clients = ('http.client', 'urllib.request', 'urllib3', 'requests', 'httpx', 'httpcore')\n"
        "print([name for name in clients if name in sys.modules], means)\n"
        "import requests, httpx, httpcore, urllib.request\n"
        "print(all(hasattr(m, '__wrapped__') for m in (requests.Session.send, httpx.Client.send, "
        "urllib.request.OpenerDirector.open)))\n"
        "print(outbound.install())\n"
        "outbound.uninstall()\n"
        "print(any(hasattr(m, '__wrapped__') for m in (requests.Session.send, httpx.Client.send, "
        "urllib.request.OpenerDirector.open)))\n"
    )
    assert output.splitlines() == [
        "[] ['when imported: http.client urllib.request urllib3 requests niquests httpcore httpx httpcore2 httpx2 aiohttp websocket']",
        "True",
        "['patched: http.client urllib.request urllib3 requests httpcore httpx', 'when imported: niquests httpcore2 httpx2 aiohttp websocket']",
        "False",
    ]


ALIAS = """
import sys, httpx2
httpx2.alias_httpx()
{before}
import httpx, httpcore
{after}
assert httpx is httpx2 and httpcore is sys.modules["httpcore2"]
method = httpx.Client.send
print(method.__wrapped__, hasattr(method.__wrapped__, "__wrapped__"))
print([line for line in outbound.status_lines() if line.startswith("patched")])
with Hostile() as server:
    for kind in (httpx.Client, httpx.AsyncClient):
        try:
            if kind is httpx.Client:
                kind(timeout=None).get(server.url + "/drip_body")
            else:
                asyncio.run(kind(timeout=None).get(server.url + "/drip_body"))
        except httpx2.ReadTimeout as error:
            print(isinstance(error, DeadlineExceeded))
outbound.install()
outbound.uninstall()
print(hasattr(httpx2.Client.send, "__wrapped__"))
"""


@pytest.mark.parametrize("installed", ["before", "after"])
def test_httpx2_that_is_known_as_httpx_too_is_patched_once(installed):
    pytest.importorskip("httpx2")
    head = "import asyncio; from bench.outbound.hostile import Hostile\nfrom resilient_wsgi.errors import DeadlineExceeded"
    parts = dict.fromkeys(("before", "after"), "")
    parts[installed] = INSTALL
    output = run(head + ALIAS.format(**parts)).splitlines()
    assert output[0].startswith("<function Client.send")
    assert output[0].endswith("False")
    assert "httpcore2 httpx2" in output[1]
    assert output[2:] == ["True", "True", "False"]


GEVENT = """
{}
import gevent, time
with Hostile() as server:
    began = time.monotonic()
    calls = [gevent.spawn(requests.get, server.url.replace("127.0.0.1", "localhost") + "/drip_body") for _ in range(5)]
    gevent.joinall(calls, timeout=10)
    print(time.monotonic() - began < 2, {{isinstance(call.exception, requests.Timeout) for call in calls}})
    print(any("gevent" in line for line in outbound.status_lines()))
"""
PATCH = "from gevent import monkey; monkey.patch_all()"
INSTALL = """
from resilient_wsgi import outbound
from resilient_wsgi.settings.options import Outbound
outbound.install(Outbound(total_timeout=0.5))
"""
CLIENT = "import requests; from bench.outbound.hostile import Hostile"


@pytest.mark.parametrize(
    "order", [(PATCH, INSTALL, CLIENT), (INSTALL, PATCH, CLIENT), (INSTALL, CLIENT, PATCH)]
)
def test_under_gevent_calls_end_in_time_and_side_by_side(order):
    pytest.importorskip("gevent")
    assert run(GEVENT.format("\n".join(order))).splitlines() == ["True {True}", "True"]


def test_installing_twice_is_installing_once():
    before = requests.Session.send
    install(Outbound())
    assert requests.Session.send is before
    assert not hasattr(before.__wrapped__, "__wrapped__")


def test_what_others_have_wrapped_over_ours_stays_and_passes_through(server):
    calls = []

    def theirs(wrapped, instance, args, kwargs):
        calls.append(instance)
        return wrapped(*args, **kwargs)

    ours = requests.Session.__dict__["send"]
    wrapt.wrap_function_wrapper(requests.Session, "send", theirs)
    try:
        with pytest.raises(requests.Timeout, match="gave up"):
            requests.get(f"{server.url}/drip_body")
        uninstall()
        assert requests.get(f"{server.url}/ok").content == b"ok"
        install(Outbound(total_timeout=0.1))
        with pytest.raises(requests.Timeout, match=r"limit 0\.1 s"):
            requests.get(f"{server.url}/drip_body")
        assert len(calls) == 3
    finally:
        requests.Session.send = ours
