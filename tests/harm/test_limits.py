"""Legitimate slow calls are not cut: limits by scope, explicit numbers kept, a request's limits end
with it.
"""

from __future__ import annotations

import contextvars
import http.client
import http.server
import re
import threading
import time
import urllib.request

import httpx
import pytest
import requests
import urllib3

from resilient_wsgi import deadline
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, policy, timeouts, uninstall
from resilient_wsgi.outbound.policy import Limit, Limits, Policy
from resilient_wsgi.request.middleware import DeadlineMiddleware
from resilient_wsgi.settings.options import Outbound

SHORT, LONG = 0.2, 0.4  # silence and total in a request
SILENCE = 1.0  # elsewhere
PATIENT = 0.8  # a number of the caller's


class Upstream(http.server.BaseHTTPRequestHandler):
    """`/late/S` answers after S seconds; `/steady/S` at once, then a byte ten times in S seconds."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        what, seconds = self.path.split("/")[1:3]
        if what == "late":
            self.server.over.wait(float(seconds))
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        for _ in range(10):
            if what == "steady":
                self.server.over.wait(float(seconds) / 10)
            self.wfile.write(b"x")

    def do_POST(self):
        while int(self.rfile.readline(), 16):
            self.rfile.readline()
        self.rfile.readline()
        self.do_GET()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):
        pass


@pytest.fixture(scope="module")
def upstream():
    with Server(("127.0.0.1", 0), Upstream) as server:
        server.over = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _scaled(monkeypatch):
    """The defaults, a fiftieth as long."""
    default = [Limit(s, "", "default") for s in (1.0, SHORT, LONG, 2.0, SILENCE, float("inf"))]
    monkeypatch.setattr(policy, "IN_REQUEST", Limits(*default[:3]))
    monkeypatch.setattr(policy, "ELSEWHERE", Limits(*default[3:]))
    install(Outbound())
    yield
    uninstall()


def in_request(call, seconds=30.0):
    """Return what `call` returns, called by an app that serves a request with so many seconds."""
    returned = []

    def app(environ, start_response):
        returned.append(call())
        return []

    served = DeadlineMiddleware(app, seconds=seconds)(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/pay"}, None
    )
    getattr(served, "close", lambda: None)()
    return returned[0]


def by_http_client(url, **timeout):
    host, path = url.partition("//")[2].split("/", 1)
    connection = http.client.HTTPConnection(host, **timeout)
    try:
        connection.request("GET", f"/{path}")
        with connection.getresponse() as response:
            return response.read()
    finally:
        connection.close()


def by_http_client_s_socket(url, timeout=None):
    host, path = url.partition("//")[2].split("/", 1)
    connection = http.client.HTTPConnection(host)
    try:
        connection.connect()
        connection.sock.settimeout(timeout)
        connection.request("GET", f"/{path}")
        with connection.getresponse() as response:
            return response.read()
    finally:
        connection.close()


def by_urllib_request(url, **timeout):
    with urllib.request.urlopen(url, **timeout) as response:
        return response.read()


def by_urllib3(url, **timeout):
    with urllib3.PoolManager(retries=False) as manager:
        return manager.request("GET", url, **timeout).data


def by_requests(url, **timeout):
    return requests.get(url, **timeout).content


def by_httpx(url, **timeout):
    with httpx.Client(verify=False, **{"timeout": None, **timeout}) as client:
        return client.get(url).content


def by_a_prepared_httpx_request(url, **timeout):
    with httpx.Client(verify=False, **{"timeout": None, **timeout}) as client:
        return client.send(httpx.Request("GET", url)).content


CLIENTS = [by_http_client, by_urllib_request, by_urllib3, by_requests, by_httpx]
ALL = pytest.mark.parametrize("ask", CLIENTS)


def test_the_defaults_in_a_request_and_elsewhere(monkeypatch):
    monkeypatch.undo()
    assert [limit.seconds for limit in Policy(Outbound()).in_request] == [5, 15, 30]
    assert [limit.seconds for limit in Policy(Outbound()).elsewhere] == [10, 120, float("inf")]


@ALL
@pytest.mark.parametrize("path", [f"late/{LONG * 1.5}", f"steady/{LONG * 1.5}"])
def test_what_would_be_too_slow_for_a_request_is_waited_for_elsewhere(upstream, ask, path):
    assert ask(f"http://{upstream}/{path}") == b"x" * 10
    with pytest.raises(DeadlineExceeded):
        in_request(lambda: ask(f"http://{upstream}/{path}"))


PATIENT_CALLS = {
    "http.client": (by_http_client, PATIENT),
    "the socket of http.client": (by_http_client_s_socket, PATIENT),
    "urllib.request": (by_urllib_request, PATIENT),
    "urllib3": (by_urllib3, PATIENT),
    "urllib3.Timeout": (by_urllib3, urllib3.Timeout(connect=0.5, read=PATIENT)),
    "urllib3.Timeout(total=)": (by_urllib3, urllib3.Timeout(total=PATIENT)),
    "requests": (by_requests, PATIENT),
    "requests (connect, read)": (by_requests, (0.5, PATIENT)),
    "httpx": (by_httpx, PATIENT),
    "httpx.Timeout": (by_httpx, httpx.Timeout(0.5, read=PATIENT)),
    "httpx, a request built by hand": (by_a_prepared_httpx_request, PATIENT),
}


PLAINLY = [
    "http.client",
    "urllib.request",
    "urllib3.Timeout(total=)",
    "requests (connect, read)",
    "httpx",
]


@pytest.mark.parametrize("name", PATIENT_CALLS)
def test_a_number_of_the_caller_beyond_the_total_is_kept_in_a_request(upstream, name):
    ask, timeout = PATIENT_CALLS[name]
    assert (
        in_request(lambda: ask(f"http://{upstream}/late/{LONG + 0.1}", timeout=timeout))
        == b"x" * 10
    )


@pytest.mark.parametrize("name", PLAINLY)
def test_it_is_then_the_total_in_a_request(upstream, name):
    ask, timeout = PATIENT_CALLS[name]
    began = time.monotonic()
    with pytest.raises(
        DeadlineExceeded,
        match=r"limit 0.[78]\d* s \(the caller's timeout, in a request the total too",
    ):
        in_request(lambda: ask(f"http://{upstream}/steady/3", timeout=timeout))
    assert PATIENT - 0.1 < time.monotonic() - began < PATIENT + 1


@pytest.mark.parametrize("name", PLAINLY)
def test_an_answer_that_never_comes_is_the_caller_s_own_timeout_and_no_matter_of_ours(
    upstream, name
):
    ask, timeout = PATIENT_CALLS[name]
    with pytest.raises(Exception, match="timed out") as caught:
        in_request(lambda: ask(f"http://{upstream}/late/4", timeout=timeout))
    assert not isinstance(caught.value, DeadlineExceeded)


def test_the_deadline_of_the_request_holds_over_a_number_of_the_caller(upstream):
    with pytest.raises(requests.Timeout, match="request deadline of GET /pay"):
        in_request(lambda: by_requests(f"http://{upstream}/late/4", timeout=PATIENT), seconds=0.2)


@pytest.mark.parametrize("how", ["TOTAL_TIMEOUT", "HOSTS", "timeouts()"])
def test_a_total_that_somebody_has_set_holds_over_a_number_of_the_caller_also_elsewhere(
    upstream, how
):
    install(
        {
            "TOTAL_TIMEOUT": Outbound(total_timeout=0.4),
            "HOSTS": Outbound(hosts={"127.0.0.1": {"total_timeout": 0.4}}),
            "timeouts()": Outbound(),
        }[how]
    )
    how = re.escape(how[:-1])
    with timeouts(total=0.4 if how.startswith("timeouts") else None):
        for called in (lambda call: call(), in_request):
            with pytest.raises(requests.Timeout, match=rf"limit 0.4 s \(.*{how}"):
                called(lambda: by_requests(f"http://{upstream}/late/4", timeout=PATIENT))


def events(url):
    """Return the ways to read a stream with no limit asked for: an explicit None."""

    def requests_stream():
        with requests.get(url, stream=True, timeout=None) as response:
            return b"".join(response.iter_content(1))

    def requests_read_none():
        with requests.get(url, stream=True, timeout=(5, None)) as response:
            return response.content

    def urllib3_stream():
        with urllib3.PoolManager(retries=False) as manager:
            return b"".join(
                manager.request("GET", url, preload_content=False, timeout=None).stream(1)
            )

    def urllib3_read_none():
        with urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=5, read=None)
        ) as manager:
            return b"".join(manager.request("GET", url, preload_content=False).stream(1))

    def httpx_stream():
        with (
            httpx.Client(timeout=None, verify=False) as client,
            client.stream("GET", url) as response,
        ):
            return response.read()

    def httpx_read_none():
        timeout = httpx.Timeout(5, read=None)
        with httpx.Client(timeout=timeout, verify=False) as client:
            response = client.send(httpx.Request("GET", url), stream=True)
            return b"".join(response.iter_bytes())

    def urlopen():
        with urllib.request.urlopen(url, timeout=None) as response:
            return response.read()

    def http_client():
        return by_http_client(url, timeout=None)

    return {
        f.__name__: f
        for f in (
            requests_stream, requests_read_none, urllib3_stream, urllib3_read_none, httpx_stream,
            httpx_read_none,
            urlopen, http_client,
        )
    }  # fmt: skip


@pytest.mark.parametrize("name", events(""))
def test_an_explicit_none_is_not_cut_by_a_default_elsewhere_and_is_in_a_request(
    upstream, monkeypatch, name
):
    silence = Limit(0.2, "", "default")
    monkeypatch.setattr(policy, "ELSEWHERE", policy.ELSEWHERE._replace(read=silence))
    install(Outbound())
    read = events(f"http://{upstream}/late/0.5")[name]
    assert read() == b"x" * 10
    with pytest.raises(DeadlineExceeded):
        in_request(read)
    install(Outbound(read_timeout=0.2))
    with pytest.raises(DeadlineExceeded, match=r"limit 0.2 s \(OUTBOUND.READ_TIMEOUT\)"):
        read()


class Job(threading.Thread):
    """Work that a request starts in a thread with a copy of its context."""

    def __init__(self, call):
        super().__init__()
        self._call, self._context = call, contextvars.copy_context()
        self.result = None
        self.start()

    def run(self):
        try:
            self.result = self._context.run(self._call)
        except Exception as error:
            self.result = error


@ALL
def test_a_call_that_begins_after_its_request_is_over_is_not_limited_by_it(upstream, ask):
    over = threading.Event()

    def work():
        over.wait(10)
        return (
            deadline.current(),
            deadline.in_request(),
            ask(f"http://{upstream}/late/{LONG * 1.5}"),
        )

    job = in_request(lambda: Job(work), seconds=0.2)
    time.sleep(0.2)
    over.set()
    job.join(10)
    assert job.result == (None, False, b"x" * 10)


@ALL
@pytest.mark.parametrize(
    ("path", "seconds"), [(f"late/{LONG * 1.5}", 0.2), (f"steady/{LONG * 1.5}", 30)]
)
def test_a_call_that_outlives_its_request_is_limited_as_outside_of_requests_from_then_on(
    upstream, ask, path, seconds
):
    job = in_request(lambda: Job(lambda: ask(f"http://{upstream}/{path}")), seconds=seconds)
    job.join(10)
    assert job.result == b"x" * 10


def test_a_response_that_a_request_leaves_to_a_thread_is_not_cut_at_its_deadline(upstream):
    def view():
        response = requests.get(f"http://{upstream}/steady/{LONG * 2}", stream=True)
        return Job(lambda: response.content)

    job = in_request(view, seconds=0.3)
    job.join(10)
    assert job.result == b"x" * 10


def test_a_stream_goes_on_in_a_block_that_gives_its_request_more_time(upstream):
    def view():
        with requests.get(f"http://{upstream}/steady/{LONG * 1.5}", stream=True) as response:
            with deadline.limit(10, extend=True):
                return response.content

    assert in_request(view, seconds=0.3) == b"x" * 10


def test_a_total_that_ends_between_two_reads_is_what_is_told_once(upstream, caplog):
    with pytest.raises(requests.Timeout, match=r"limit 0.45 s \(outbound.timeouts\(total=\)\)"):
        with timeouts(total=0.45):
            by_requests(f"http://{upstream}/steady/2")
    assert len(caplog.records) == 1


def test_the_limits_of_a_host_hold_again_after_a_call_to_another_one_within(upstream):
    port = upstream.split(":")[1]
    install(Outbound(read_timeout=0.2, hosts={"localhost": {"read_timeout": 5.0}}))

    def body():
        yield b"a"
        assert by_requests(f"http://127.0.0.1:{port}/late/0") == b"x" * 10
        yield b"b"

    with requests.Session() as session:
        assert session.post(f"http://localhost:{port}/late/0.5", data=body()).content == b"x" * 10


def test_a_streamed_body_is_limited_as_the_host_that_sends_it_whatever_is_called_meanwhile(
    upstream,
):
    port = upstream.split(":")[1]
    install(Outbound(read_timeout=0.1, hosts={"localhost": {"read_timeout": 5.0}}))

    def hook(response, **_):
        by_requests(f"http://127.0.0.1:{port}/late/0")

    with requests.get(
        f"http://localhost:{port}/steady/1.5", stream=True, hooks={"response": hook}
    ) as response:
        assert response.content == b"x" * 10


class OwnSleep(urllib3.Retry):
    """A policy of the app's own: with jitter, say."""

    def sleep(self, response=None):
        time.sleep(self.get_backoff_time() or 0.01)


def test_a_pause_of_a_retry_class_of_the_app_s_own_is_not_begun_beyond_the_total(upstream):
    retries = OwnSleep(3, backoff_factor=5, status_forcelist=[200])
    began = time.monotonic()
    with (
        urllib3.PoolManager() as manager,
        timeouts(total=1.5),
        pytest.raises(DeadlineExceeded, match="in phase retry-sleep"),
    ):
        manager.request("GET", f"http://{upstream}/late/0", retries=retries)
    assert time.monotonic() - began < 1
