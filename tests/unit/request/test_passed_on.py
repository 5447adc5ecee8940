"""The time left is passed on to upstreams, if that is asked for."""

from __future__ import annotations

import http.server
import threading
import urllib.request

import httpx
import pytest
import requests
import urllib3

from resilient_wsgi import outbound
from resilient_wsgi.deadline import limit
from resilient_wsgi.settings.options import Outbound


@pytest.fixture
def upstream():
    """Answers with the headers of that name which it got."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = ",".join(self.headers.get_all("X-Request-Timeout-Ms", [])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def by_urllib(url, headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
        return response.read().decode()


def by_urllib3(url, headers):
    with urllib3.PoolManager() as pool:
        return pool.request("GET", url, headers=headers).data.decode()


def by_requests(url, headers):
    return requests.get(url, headers=headers).text


def by_httpx(url, headers):
    return httpx.get(url, headers=headers).text


CLIENTS = (by_urllib, by_urllib3, by_requests, by_httpx)


@pytest.fixture
def installed():
    def install(**options):
        outbound.install(Outbound(**options))

    yield install
    outbound.uninstall()


@pytest.mark.parametrize("ask", CLIENTS)
def test_what_is_left_is_sent_along_where_that_is_asked_for(upstream, installed, ask):
    installed(pass_deadline=True)
    assert ask(upstream, {}) == ""
    with limit(20):
        assert 15_000 < int(ask(upstream, {})) <= 20_000
        assert ask(upstream, {"x-request-timeout-ms": "7"}) == "7"


@pytest.mark.parametrize("ask", CLIENTS)
def test_nothing_is_sent_along_by_default(upstream, installed, ask):
    installed()
    with limit(20):
        assert ask(upstream, {}) == ""
