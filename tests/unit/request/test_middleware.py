"""The middleware: deadlines of requests, clients that are gone, and WSGI kept to the letter."""

from __future__ import annotations

import io
import socket
import sys
from wsgiref import handlers, util, validate

import pytest

from lab.processes import wait_until
from resilient_wsgi import deadline
from resilient_wsgi.app import wrap
from resilient_wsgi.events import ClientGone
from resilient_wsgi.request import ClientGoneMiddleware, DeadlineMiddleware, client_gone
from resilient_wsgi.request.client import hung_up
from resilient_wsgi.request.running import running
from resilient_wsgi.servers import Server, use
from resilient_wsgi.servers.facts import Connections
from resilient_wsgi.settings.options import Request
from resilient_wsgi.testing import captured_events


def environ(**more):
    made = {"REQUEST_METHOD": "GET", "PATH_INFO": "/pay", "SCRIPT_NAME": "/shop"}
    util.setup_testing_defaults(made)
    return {**made, **more}


def start_response(status, headers, exc_info=None):
    start_response.status = status


def test_the_deadline_holds_in_the_call_the_iteration_and_the_close():
    seen = []

    class Result:
        def __iter__(self):
            seen.append(deadline.current())
            yield b"x"
            seen.append(deadline.current())

        def close(self):
            seen.append(deadline.current())

    def app(environ, start_response):
        seen.append(deadline.current())
        return Result()

    body = DeadlineMiddleware(app, 5)(environ(), start_response)
    assert deadline.current() is None
    for _ in body:
        assert deadline.current() is None
    body.close()
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert seen[0].limit == 5
    assert seen[0].source == "request deadline of GET /shop/pay"
    assert deadline.current() is None


def test_the_deadline_of_a_request_that_raises_does_not_stay():
    def app(environ, start_response):
        raise KeyError

    with pytest.raises(KeyError):
        DeadlineMiddleware(app, 5)(environ(), start_response)
    assert deadline.current() is None


def test_a_shorter_deadline_around_it_wins():
    with deadline.limit(1) as outer:
        DeadlineMiddleware(lambda e, s: [repr(deadline.current() is outer).encode()], 5)(
            environ(), start_response
        )
        assert deadline.current() is outer


def test_close_is_called_once_also_when_the_client_goes_in_the_middle():
    closed = []

    class Result:
        def __iter__(self):
            return iter([b"1", b"2"])

        def close(self):
            closed.append(True)

    body = DeadlineMiddleware(lambda e, s: Result(), 5)(environ(), start_response)
    next(iter(body))
    body.close()
    assert closed == [True]


@pytest.mark.parametrize("result", [[b"x"], (b"x",)])
def test_a_list_is_returned_as_it_is(result):
    assert DeadlineMiddleware(lambda e, s: result, 5)(environ(), start_response) is result


def test_what_the_servers_file_wrapper_made_is_returned_untouched():
    file = io.BytesIO(b"x")
    uwsgi_like = environ(**{"wsgi.file_wrapper": lambda f, size=0: f})
    assert (
        DeadlineMiddleware(lambda e, s: e["wsgi.file_wrapper"](file), 5)(uwsgi_like, start_response)
        is file
    )
    wsgiref_like = environ(**{"wsgi.file_wrapper": util.FileWrapper})
    result = DeadlineMiddleware(lambda e, s: e["wsgi.file_wrapper"](file), 5)(
        wsgiref_like, start_response
    )
    assert type(result) is util.FileWrapper


def test_in_report_mode_no_deadline_holds_but_the_request_is_seen():
    def app(environ, start_response):
        assert deadline.current() is None
        assert [request.limit for _, request in running.requests()] == [5]
        return []

    DeadlineMiddleware(app, 5, enforced=False)(environ(), start_response)
    assert running.requests() == []


def test_a_request_is_in_the_table_until_its_response_is_closed():
    body = DeadlineMiddleware(lambda e, s: iter([b"1"]), 5)(environ(), start_response)
    assert list(body) == [b"1"]
    assert len(running.requests()) == 1
    body.close()
    assert running.requests() == []


def test_a_response_that_nobody_closes_gives_way_to_the_next_request_of_its_thread():
    unclosed = DeadlineMiddleware(lambda e, s: iter([b"1"]), 5)(environ(), start_response)
    DeadlineMiddleware(lambda e, s: [], 5)(environ(), start_response)
    assert running.requests() == []
    unclosed.close()


def test_an_environ_without_the_usual_keys_reaches_the_app():
    assert DeadlineMiddleware(lambda e, s: [b"x"], 5)({}, start_response) == [b"x"]


class Connected(Server, Connections):
    """A server whose client is one end of a socket pair."""

    def __init__(self, half_close=False):
        super().__init__()
        self.connections = self
        self.client, self.accepted = socket.socketpair()
        self._half_close = half_close

    def client_fd(self, environ):
        return self.accepted.fileno()

    def client_may_half_close(self, environ):
        return self._half_close

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.client.close()
        self.accepted.close()


def called(server, **options):
    calls = []
    app = ClientGoneMiddleware(lambda e, s: calls.append(1) or [], Request(**options), server)
    app(environ(), start_response)
    return bool(calls)


def test_a_request_whose_client_waits_is_passed_on():
    with Connected() as server:
        server.client.send(b"a body that is not read yet")
        assert not hung_up(server.accepted.fileno())
        assert called(server)


def test_a_request_whose_client_is_gone_is_answered_499_and_not_passed_on():
    with Connected() as server, captured_events() as happened:
        server.client.close()
        assert not called(server)
        assert start_response.status == "499 Client Closed Request"
        assert happened == [ClientGone("GET", "/shop/pay")]


def test_a_client_that_has_only_half_closed_on_raw_http_is_served():
    with Connected(half_close=True) as server:
        server.client.shutdown(socket.SHUT_WR)
        assert called(server)
        assert called(server, client_gone=True)  # a UNIX socket, where that is seen
        server.client.close()
        assert called(server)
        # another thread that looks at all descriptors may hold it for a moment longer
        assert wait_until(lambda: not called(server, client_gone=True), 5)


def test_in_report_mode_a_gone_client_is_said_and_the_app_is_called():
    with Connected() as server, captured_events() as happened:
        server.client.close()
        assert called(server, mode="report")
        assert [type(e) for e in happened] == [ClientGone]


def test_an_app_can_ask_whether_its_client_is_still_there():
    answers = []

    def app(environ, start_response):
        answers.append(client_gone())
        server.client.close()
        answers.append(client_gone())
        return []

    with Connected() as server:
        use(server)
        try:
            DeadlineMiddleware(app, 5)(environ(), start_response)
        finally:
            use(None)
    assert answers == [False, True]
    assert client_gone() is False


def test_a_failure_of_our_own_never_reaches_the_app(caplog):
    class Broken(Connections):
        def client_may_half_close(self, environ):
            raise RuntimeError("ours")

    server = Server()
    server.connections = Broken()
    assert called(server)
    assert "error inside resilient_wsgi" in caplog.text


def test_wrapping_twice_is_wrapping_once():
    app = wrap(lambda e, s: [])
    assert wrap(app) is app


def test_only_the_outer_of_two_stacks_is_at_work(monkeypatch):
    monkeypatch.setenv("RESILIENT_WSGI_REQUEST_TIMEOUT", "5")
    seen = []

    def app(environ, start_response):
        seen.append(deadline.current().limit)
        return []

    inner = wrap(app)
    outer = wrap(lambda environ, start_response: inner(environ, start_response))  # noqa: PLW0108 - not a Wrapped
    outer(environ(), start_response)
    inner(environ(), start_response)
    assert seen == [5, 5]


@pytest.mark.parametrize("app", [None, "pkg.wsgi:application"])
def test_what_is_no_application_is_refused(app):
    with pytest.raises(TypeError, match="takes a WSGI application"):
        wrap(app)


def test_attributes_of_the_app_are_reached_through_the_wrapper():
    def app(environ, start_response):
        return []

    app.config = {"a": 1}
    assert wrap(app).config == {"a": 1}


def test_the_whole_stack_passes_wsgiref_validate(monkeypatch):
    monkeypatch.setenv("RESILIENT_WSGI_REQUEST_TIMEOUT", "5")

    class Result:
        def __iter__(self):
            yield b"hello"

        def close(self):
            pass

    def app(environ, start_response):
        environ["wsgi.errors"].write("to the log\n")
        environ["wsgi.errors"].flush()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Result()

    checked = validate.validator(wrap(validate.validator(app)))
    written = io.BytesIO()
    handler = handlers.SimpleHandler(io.BytesIO(), written, sys.stderr, environ(QUERY_STRING=""))
    handler.run(checked)
    assert written.getvalue().endswith(b"hello")
