"""What `wrap()` puts around an app, gone through as a server does."""

from __future__ import annotations

import contextvars
import socket
import sys
import threading
import time

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.app import Wrapped
from resilient_wsgi.events import ClientGone
from resilient_wsgi.request.running import RequestDeadline
from resilient_wsgi.servers import Server, use
from resilient_wsgi.servers.facts import Connections, Harakiri
from resilient_wsgi.settings.options import Overload, Readiness, Request, Settings, Stderr
from resilient_wsgi.stderr import NonBlockingStream
from resilient_wsgi.testing import captured_events


class Behind(Server, Connections, Harakiri):
    """A server whose clients are on one end of a socket pair."""

    def __init__(self, half_close=False):
        super().__init__()
        self.connections = self.harakiri = self
        self.client, self.accepted = socket.socketpair()
        self.half_close = half_close
        self.started = []
        self.hooks.ready.add(lambda: self.started.append("ready"))

    def client_fd(self, environ):
        return self.accepted.fileno()

    def client_may_half_close(self, environ):
        return False

    def all_clients_may_half_close(self):
        return self.half_close

    def seconds(self):
        return 30.0


@pytest.fixture(params=[False, True], ids=["each client is looked at", "no client is looked at"])
def server(request):
    made = Behind(half_close=request.param)
    use(made)
    with made.client, made.accepted:
        yield made
    use(None)


class App:
    def __init__(self):
        self.environs = []

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        start_response("200 OK", [])
        return [b"the app"]


def ask(app, path="/", **more):
    said = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "wsgi.errors": sys.__stderr__,
        **more,
    }
    body = app(environ, lambda status, headers, exc_info=None: said.append(status))
    return said[0], b"".join(body)


def test_the_first_request_says_that_the_worker_is_ready_and_no_other_does(server):
    app = Wrapped(App(), Settings())
    assert server.started == []
    assert ask(app) == ask(app) == ("200 OK", b"the app")
    assert server.started == ["ready"]


def test_probes_are_answered_without_the_app(server):
    inner = App()
    app = Wrapped(inner, Settings())
    for path in ("/", "/-/live"):  # in the first request, and later
        ask(app, path)
    assert ask(app, "/-/live") == ("200 OK", b'{"status": "live"}')
    assert [environ["PATH_INFO"] for environ in inner.environs] == ["/"]


@pytest.mark.parametrize("header", ["X-Request-Start", "X-Queue-Start"])
def test_the_time_in_the_queue_is_taken_from_the_header_that_is_configured(server, header):
    inner = App()
    app = Wrapped(inner, Settings(overload=Overload(queue_time_header=header)))
    for name in ("X-Request-Start", "X-Queue-Start"):
        for _ in range(3):  # what the clocks differ by takes a few to be known
            ask(app, **{f"HTTP_{name.upper().replace('-', '_')}": f"t={time.time() - 5:.3f}"})
        assert ("resilient_wsgi.waited" in inner.environs[-1]) == (name == header)


def test_a_client_that_is_gone_is_seen_where_that_can_be(server):
    app = Wrapped(App(), Settings())
    ask(app)
    server.client.close()
    with captured_events() as happened:
        assert ask(app)[0] == ("200 OK" if server.half_close else "499 Client Closed Request")
    assert [type(event) for event in happened] == ([] if server.half_close else [ClientGone])


def test_what_writes_to_standard_error_is_replaced_whatever_came_before(server):
    class Elsewhere:
        def fileno(self):
            raise OSError

    inner = App()
    app = Wrapped(inner, Settings())
    own, other = Elsewhere(), sys.__stderr__
    for errors in (own, other, own, own, other, None):
        ask(app, **{"wsgi.errors": errors})
    ours = [isinstance(environ["wsgi.errors"], NonBlockingStream) for environ in inner.environs]
    assert ours == [False, True, False, False, True, True]


def test_with_all_off_the_app_is_called_as_it_is(server):
    inner = App()
    off = Settings(
        readiness=Readiness("off"),
        stderr=Stderr("off"),
        request=Request("off"),
        overload=Overload("off"),
    )
    app = Wrapped(inner, off)
    server.client.close()
    assert ask(app, "/-/live", HTTP_X_REQUEST_START="t=1") == ("200 OK", b"the app")
    assert inner.environs[0]["wsgi.errors"] is sys.__stderr__


def test_a_request_has_one_deadline_whoever_asks_for_it_first(server):
    """In threads that have its context too, all at once."""
    seen = []

    def inner(environ, start_response):
        barrier = threading.Barrier(8)

        def look():
            barrier.wait(10)
            seen.append(deadline.current())

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(look,)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        start_response("200 OK", [])
        return []

    app = Wrapped(inner, Settings())
    for number in range(1, 51):
        ask(app)
        assert len(seen) == 8 * number
        assert len(set(seen[-8:])) == 1
    assert len(set(seen)) == 50
    assert all(isinstance(each, RequestDeadline) for each in seen)
    assert deadline.current() is None
