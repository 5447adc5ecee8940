"""urllib3-future, which takes the place of urllib3 where niquests is installed: `nox -s niquests`."""

from __future__ import annotations

import time
import types

import pytest
import requests
import urllib3

from bench.outbound.hostile import black_holes
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, status_lines
from resilient_wsgi.outbound.patches.urllib3 import is_future
from resilient_wsgi.settings.options import Outbound

installed_here = pytest.mark.skipif(
    not is_future(urllib3), reason="urllib3 is itself here, not urllib3-future"
)
TOTAL = 0.3  # conftest.py


@pytest.mark.parametrize(
    ("version", "future"),
    [
        ("2.8.0", False),
        ("1.26.20", False),
        ("2.25.904", True),
        ("2.0.900.dev1", True),
        ("2", False),
    ],
)
def test_it_is_known_by_its_version(version, future):
    assert is_future(types.SimpleNamespace(__version__=version)) is future


def by_niquests(url, **options):
    niquests = pytest.importorskip("niquests")
    with niquests.Session() as session:
        return session.get(url, **options).content


def by_requests(url, **options):
    with requests.Session() as session:
        return session.get(url, **options).content


def by_urllib3(url, **options):
    with urllib3.PoolManager() as manager:
        return manager.request("GET", url, **options).data


def kind_of(call):
    if call is by_niquests:
        return pytest.importorskip("niquests").Timeout
    return requests.Timeout if call is by_requests else urllib3.exceptions.TimeoutError


each_client = pytest.mark.parametrize("call", [by_urllib3, by_requests, by_niquests])


@installed_here
def test_the_status_says_what_is_not_limited():
    assert any(line.startswith("limited in part: urllib3-future") for line in status_lines())


@installed_here
@each_client
def test_an_upstream_that_hangs_is_given_up_on_in_time(server, call):
    for path in ("silent", "redirect/9"):
        began = time.monotonic()
        with pytest.raises(kind_of(call)) as caught:
            call(f"{server.url}/{path}")
        assert isinstance(caught.value, DeadlineExceeded)
        assert time.monotonic() - began < TOTAL + 1.2


@installed_here
@each_client
def test_a_body_that_falls_silent_ends_in_the_clients_own_exception(server, call):
    began = time.monotonic()
    with pytest.raises(Exception, match=r"timed out|limit"):
        call(f"{server.url}/late_body")
    assert time.monotonic() - began < TOTAL + 1


@installed_here
@each_client
def test_a_connection_that_is_never_made_is_given_up_on_in_time(call):
    install(Outbound(connect_timeout=0.3, read_timeout=5, total_timeout=1))
    with black_holes() as (addresses, port):
        began = time.monotonic()
        with pytest.raises(kind_of(call), match="limit"):
            call(f"http://{addresses[0]}:{port}/")
        assert time.monotonic() - began < 2


@installed_here
@pytest.mark.parametrize("call", [by_requests, by_niquests])
def test_a_number_of_the_callers_ends_in_what_the_client_raises_without_us(server, call, seen):
    with pytest.raises(kind_of(call)) as caught:
        call(f"{server.url}/silent", timeout=0.1)
    assert not isinstance(caught.value, DeadlineExceeded)
    assert not seen


@installed_here
@each_client
def test_a_healthy_call_is_not_touched(server, call):
    assert call(f"{server.url}/ok") == b"ok"
