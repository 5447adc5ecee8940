"""Exceptions: what an app gets is what its client raises without the library, and ours besides."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import gc
import http.client
import pickle
import socket
import time
import traceback
import urllib.error
import urllib.request

import httpx
import pytest
import requests
import urllib3

from bench.outbound.hostile import Hostile, black_holes, names
from resilient_wsgi import errors, events
from resilient_wsgi.core.patching import Patches
from resilient_wsgi.outbound import install, timeouts, uninstall
from resilient_wsgi.settings.options import Outbound

OURS = [
    errors.ResilientError("a text"),
    errors.ConfigurationError(["one", "two"]),
    errors.DeadlineExceeded("gave up"),
    errors.UpstreamLimited("not called"),
    errors.RequestTimedOut("late"),
    errors.Unavailable("no permission"),
]
each_of_ours = pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)


@each_of_ours
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_each_exception_of_ours_survives_pickle_and_copy(error, again):
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


@each_of_ours
def test_none_says_that_a_result_is_not_there_yet_or_that_the_system_failed(error):
    for kind in (TimeoutError, concurrent.futures.TimeoutError, asyncio.TimeoutError, OSError):
        assert not isinstance(error, kind)


@pytest.fixture(scope="module")
def server():
    with Hostile(seconds=20) as hostile:
        yield hostile


def brief():
    """Limit what is never answered; what is answered has the time that a loaded machine takes."""
    return timeouts(connect=0.2, read=0.2)


@pytest.fixture(autouse=True)
def limits():
    install(Outbound(connect_timeout=5, read_timeout=5, total_timeout=10))
    yield
    uninstall()


def by_requests(url, **options):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, **options).content


def by_urllib3(url, **options):
    with urllib3.PoolManager(retries=False) as manager:
        return manager.request("GET", url, **options).data


def by_urllib3_with_retries(url, **options):
    with urllib3.PoolManager(retries=urllib3.Retry(1, backoff_factor=0)) as manager:
        return manager.request("GET", url, **options).data


def by_httpx(url, **options):
    with httpx.Client(verify=False, trust_env=False, **{"timeout": None, **options}) as client:
        return client.get(url).content


def by_http_client(url, **options):
    connection = http.client.HTTPConnection(url.split("/")[2], **options)
    try:
        connection.request("GET", "/" + url.split("/", 3)[3])
        return connection.getresponse().read()
    finally:
        connection.close()


def by_urllib_request(url, **options):
    with urllib.request.urlopen(url, **options) as response:
        return response.read()


SILENT = {
    by_requests: requests.exceptions.ReadTimeout,
    by_urllib3: urllib3.exceptions.ReadTimeoutError,
    by_urllib3_with_retries: urllib3.exceptions.MaxRetryError,
    by_httpx: httpx.ReadTimeout,
    by_http_client: socket.timeout,
    by_urllib_request: socket.timeout,
}
UNREACHABLE = {
    by_requests: requests.exceptions.ConnectTimeout,
    by_urllib3: urllib3.exceptions.ConnectTimeoutError,
    by_urllib3_with_retries: urllib3.exceptions.MaxRetryError,
    by_httpx: httpx.ConnectTimeout,
    by_http_client: socket.timeout,
    by_urllib_request: urllib.error.URLError,
}
BODY = {**SILENT, by_urllib3_with_retries: urllib3.exceptions.ReadTimeoutError}
each_client = pytest.mark.parametrize("call", SILENT, ids=lambda call: call.__name__)


def raised(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return error


def briefly(call, *args, **kwargs):
    with brief():
        return raised(call, *args, **kwargs)


def is_ours_and_only(error, kind):
    """Return whether an exception is a direct subclass of the client's that adds our base alone."""
    bases = set(type(error).__bases__)
    return isinstance(error, errors.DeadlineExceeded) and bases == {kind, errors.DeadlineExceeded}


@each_client
def test_silence_ends_in_the_clients_own_class_with_our_base(server, call):
    assert is_ours_and_only(briefly(call, f"{server.url}/silent"), SILENT[call])


@each_client
def test_a_body_that_stops_ends_in_the_clients_own_class_with_our_base(server, call):
    with timeouts(total=0.2, read=5):
        assert is_ours_and_only(raised(call, f"{server.url}/drip_body"), BODY[call])


@each_client
def test_an_upstream_that_cannot_be_reached_ends_in_the_clients_own_class_with_our_base(call):
    with black_holes(1) as (addresses, port), names({"dead.test": addresses}):
        assert is_ours_and_only(briefly(call, f"http://dead.test:{port}/"), UNREACHABLE[call])


@each_client
@pytest.mark.parametrize("phase", ["connect", "silent", "drip_body"])
def test_a_number_of_the_callers_raises_exactly_what_it_raises_without_the_library(
    server, call, phase
):
    """Tables keyed by the exact class find it; a message has nothing of ours."""

    def ask():
        with black_holes(1) as (addresses, port), names({"dead.test": addresses}):
            url = f"http://dead.test:{port}/" if phase == "connect" else f"{server.url}/{phase}"
            return raised(call, url, timeout=0.1)

    limited = ask()
    uninstall()
    native = ask()
    assert type(limited) is type(native)
    assert [type(part) for part in limited.args] == [type(part) for part in native.args]
    assert str(limited).split(" at 0x")[0] == str(native).split(" at 0x")[0] or phase == "connect"
    assert "gave up" not in str(limited)


@each_client
def test_it_is_one_exception_that_says_all_and_keeps_what_the_client_says(server, call):
    message = r"^gave up on 127\.0\.0\.1 in phase headers after .* s: limit 0.2 s"
    with brief(), pytest.raises(errors.DeadlineExceeded, match=message) as caught:
        call(f"{server.url}/silent")
    error = caught.value
    assert "another exception" not in "".join(traceback.format_exception(type(error), error, None))
    assert "direct cause" not in "".join(traceback.format_exception(type(error), error, None))
    if call in (by_requests, by_urllib3, by_httpx):
        assert "imed out" in str(error) or "gave up" in str(error.args[0])


@each_client
def test_what_the_app_was_handling_when_it_called_stays_the_context(server, call):
    def ask():
        try:
            {}["missing"]
        except KeyError:
            return call(f"{server.url}/silent")

    error = briefly(ask)
    if call not in (by_http_client, by_urllib_request):  # raised by the socket itself
        assert isinstance(error.__context__, KeyError)
    assert isinstance(error, errors.DeadlineExceeded)


@each_client
def test_it_can_be_pickled_and_copied(server, call):
    error = briefly(call, f"{server.url}/silent")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert other.phase == "headers"
    assert copy.copy(error).args == error.args


def test_a_loop_that_waits_for_a_future_ends_when_the_call_in_it_has_timed_out(server):
    def ask():
        with brief():
            by_requests(f"{server.url}/silent")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                future.result(timeout=0.05)
            except requests.ReadTimeout:
                return
            except concurrent.futures.TimeoutError:
                assert not future.done(), "the exception of the call is taken for `not done yet`"
    raise AssertionError("still not done")


class Again(requests.adapters.HTTPAdapter):
    """An adapter of the app's that tries again after a timeout."""

    def send(self, *args, **kwargs):
        self.tries = []
        for _ in range(3):
            try:
                return super().send(*args, **kwargs)
            except requests.RequestException as error:
                self.tries.append(error)
        raise self.tries[-1]


@pytest.mark.parametrize("timeout", [None, 0.1])
def test_an_adapter_sees_the_same_exceptions_as_without_the_library(server, timeout):
    adapter = Again()
    with requests.Session() as session, brief(), pytest.raises(requests.ReadTimeout):
        session.mount("http://", adapter)
        session.get(f"{server.url}/silent", timeout=timeout)
    assert len(adapter.tries) == 3
    for error in adapter.tries:
        assert (
            (type(error) is requests.ReadTimeout)
            if timeout
            else is_ours_and_only(error, requests.ReadTimeout)
        )
        assert error.request is not None


@pytest.mark.parametrize(
    ("path", "kind"), [("silent", requests.ReadTimeout), ("dead", requests.ConnectTimeout)]
)
@pytest.mark.parametrize("total", [0.1, 5])
def test_an_adapter_that_is_called_alone_raises_exceptions_of_requests(server, path, kind, total):
    with (
        black_holes(1) as (addresses, port),
        names({"dead.test": addresses}),
        timeouts(total=total, connect=0.2, read=0.2),
    ):
        url = f"http://dead.test:{port}/" if path == "dead" else f"{server.url}/{path}"
        request = requests.Request("GET", url).prepare()
        adapter = requests.adapters.HTTPAdapter()
        error = raised(adapter.send, request)
        adapter.close()
    assert is_ours_and_only(error, kind)
    assert error.request is request


def test_retries_of_an_adapter_end_in_a_timeout_of_requests_when_the_total_is_over(server):
    with requests.Session() as session, timeouts(total=0.3, read=0.2):
        session.mount(
            "http://", requests.adapters.HTTPAdapter(max_retries=urllib3.Retry(9, backoff_factor=0))
        )
        error = raised(session.get, f"{server.url}/silent")
    assert is_ours_and_only(error, requests.ReadTimeout)


def test_the_retries_of_urllib3_end_in_its_timeout_when_the_total_is_over(server):
    with (
        urllib3.PoolManager(retries=urllib3.Retry(9, backoff_factor=0)) as manager,
        timeouts(total=0.3, read=0.2),
    ):
        error = raised(manager.request, "GET", f"{server.url}/silent")
    assert is_ours_and_only(error, urllib3.exceptions.ReadTimeoutError)


def test_a_stream_of_requests_raises_what_requests_raises_for_one(server):
    with brief(), requests.get(f"{server.url}/drip_body", stream=True) as response:
        error = raised(b"".join, response.iter_content(1))
    assert is_ours_and_only(error, requests.ConnectionError)


def test_a_timeout_that_a_transport_has_handled_is_not_the_reason_of_the_next_exception(server):
    class Transport(httpx.HTTPTransport):
        def handle_request(self, request):
            response = super().handle_request(request)
            try:
                brief_read = {"timeout": {"read": 0.2}}
                super().handle_request(
                    httpx.Request("GET", f"{server.url}/silent", extensions=brief_read)
                )
            except httpx.ReadTimeout:
                return response

    hooks = {"response": [lambda response: response.raise_for_status()]}
    with httpx.Client(transport=Transport(), timeout=None, event_hooks=hooks) as client:
        error = raised(client.get, f"{server.url}/retry_after")
    assert type(error) is httpx.HTTPStatusError


def test_a_hook_may_fail_for_reasons_of_its_own_after_a_timeout_that_it_has_handled(server):
    def hook(response, **_):
        response.close()
        try:
            with brief():
                by_requests(f"{server.url}/silent")
        except requests.RequestException:
            response.raise_for_status()  # also while the timeout is being handled

    with requests.Session() as session:
        session.hooks["response"].append(hook)
        error = raised(session.get, f"{server.url}/retry_after")
    assert type(error) is requests.HTTPError


def test_an_error_of_the_app_in_an_upload_is_its_own_whatever_it_has_handled_or_names_as_its_cause(
    server,
):
    class Bad(requests.RequestException):
        pass

    def body(error):
        yield b"a"
        try:
            with brief():
                by_requests(f"{server.url}/silent")
        except requests.RequestException as timeout:
            raise error from timeout

    mistake = ValueError("bad record")
    assert raised(requests.post, f"{server.url}/ok", data=body(mistake)) is mistake
    assert isinstance(mistake.__cause__, requests.ReadTimeout)
    wrapped = raised(requests.post, f"{server.url}/ok", data=body(Bad("of the app")))
    assert type(wrapped) is requests.ConnectionError  # to urllib3 it is an OSError like any other
    assert type(wrapped.args[0].args[1]) is Bad


def test_a_call_made_again_while_its_timeout_is_handled_fails_for_its_own_reason(server):
    unused = socket.create_server(("127.0.0.1", 0))
    port = unused.getsockname()[1]
    unused.close()

    class Second(requests.adapters.HTTPAdapter):
        def send(self, request, *args, **kwargs):
            try:
                return super().send(request, *args, **kwargs)
            except requests.ReadTimeout:
                request.url = f"http://127.0.0.1:{port}/"
                return super().send(request, *args, **kwargs)

    with requests.Session() as session, brief():
        session.mount("http://", Second())
        error = raised(session.get, f"{server.url}/silent")
    assert type(error) is requests.ConnectionError
    assert "refused" in str(error)


def test_nothing_of_the_wait_is_kept_by_an_exception_that_is_kept(server):
    error = briefly(by_requests, f"{server.url}/silent")
    error.__traceback__ = None
    gc.collect()
    before = len([each for each in gc.get_objects() if isinstance(each, http.client.HTTPResponse)])
    kept = [briefly(by_requests, f"{server.url}/silent") for _ in range(3)]
    for each in kept:
        each.__traceback__ = None
    gc.collect()
    after = len([each for each in gc.get_objects() if isinstance(each, http.client.HTTPResponse)])
    assert after <= before


@pytest.mark.parametrize("where", ["before the answer", "in the body"])
def test_what_the_app_does_between_two_parts_of_an_exchange_is_not_counted(where):
    """http.client hands out each part alone: the app may do other work while the answer is there
    already.
    """
    install(Outbound(total_timeout=0.3))
    with Hostile() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", "/big/100000" if where == "in the body" else "/ok")
        if where == "before the answer":
            time.sleep(0.4)
        response = connection.getresponse()
        if where == "in the body":
            response.read(1)
            time.sleep(0.4)
        assert response.read()
        connection.close()


def test_a_drip_is_no_pause_of_the_app(server):
    install(Outbound(total_timeout=0.3))
    began = time.monotonic()
    assert isinstance(raised(by_http_client, f"{server.url}/drip_body"), errors.DeadlineExceeded)
    assert time.monotonic() - began < 2


def test_a_limit_that_ends_several_tries_is_one_event(server):
    seen = []
    end = events.subscribe(seen.append)
    briefly(by_urllib3_with_retries, f"{server.url}/silent")
    end()
    assert [type(event) for event in seen] == [events.OutboundTimedOut]


def test_uninstalling_leaves_the_adapter_as_it_was():
    assert hasattr(requests.adapters.HTTPAdapter.send, "__wrapped__")
    uninstall()
    assert not hasattr(requests.adapters.HTTPAdapter.send, "__wrapped__")
    assert repr(Patches()) == "<Patches none>"
