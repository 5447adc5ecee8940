"""How long a request gets, and from whom."""

from __future__ import annotations

import math

import pytest

from resilient_wsgi.request.budget import Budget
from resilient_wsgi.servers import Server
from resilient_wsgi.servers.facts import Harakiri
from resilient_wsgi.settings.options import Request


class WithHarakiri(Server, Harakiri):
    def __init__(self, seconds):
        super().__init__()
        self.harakiri = self
        self._seconds = seconds

    def seconds(self):
        return self._seconds


def granted(environ, harakiri=None, **options):
    budget = Budget(Request(**options), WithHarakiri(harakiri))
    return budget.usual if budget.by_request is None else budget.by_request(environ)


def test_a_request_has_what_harakiri_leaves():
    assert granted({}, 30) == 28.5
    assert granted({}, 30, timeout=10) == 10
    assert granted({}, 30, timeout=60) == 28.5
    assert granted({}, timeout=7) == 7
    assert granted({}) == math.inf
    assert granted({}, 1) == 0.25


def test_the_first_pattern_that_matches_counts_and_harakiri_stays_the_limit():
    paths = {"/export/small*": 3.0, "/export/*": None, "/long/*": 100.0}
    for path, harakiri, seconds in [
        ("/export/small", 30, 3), ("/export/all", 30, 28.5), ("/export/all", None, math.inf),
        ("/long/x", 30, 28.5),
        ("/long/x", None, 100), ("/other", None, 20),
    ]:  # fmt: skip
        assert granted({"PATH_INFO": path}, harakiri, timeout=20.0, paths=paths) == seconds


def test_the_path_includes_where_the_app_is_mounted():
    assert granted({"SCRIPT_NAME": "/shop", "PATH_INFO": "/pay"}, paths={"/shop/pay": 2.0}) == 2


def test_the_router_s_limit_less_the_wait_in_the_queue():
    assert granted({"resilient_wsgi.waited": 4.0}, timeout=20.0, router_timeout=10.0) == 6
    assert granted({}, timeout=5.0, router_timeout=10.0) == 5
    assert 0 < granted({"resilient_wsgi.waited": 40.0}, timeout=20.0, router_timeout=10.0) < 0.1


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("X-Request-Timeout-Ms", "1500", 1.5),
        ("X-Envoy-Expected-Rq-Timeout-Ms", "1500", 1.5),
        ("X-Request-Timeout-Ms", "90000", 20),
        ("X-Request-Timeout-Ms", "-5", 20),
        ("X-Request-Timeout-Ms", "soon", 20),
        ("X-Request-Timeout-Ms", "1e3", 20),
        ("grpc-timeout", "2S", 2),
        ("grpc-timeout", "250m", 0.25),
        ("grpc-timeout", "1H", 20),
        ("grpc-timeout", "2", 20),
    ],
)
def test_a_trusted_header_can_only_shorten(name, value, seconds):
    environ = {"HTTP_" + name.upper().replace("-", "_"): value}
    assert granted(environ, timeout=20.0, trusted_headers=(name,)) == pytest.approx(seconds)
    assert granted(environ, timeout=20.0) == 20
