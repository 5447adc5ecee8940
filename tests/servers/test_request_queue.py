"""Shedding, clients that leave, and deadlines that come with the request, on real servers."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.processes import Gunicorn, ToolMissing, wait_until
from resilient_wsgi.host import sockets
from tests.servers.requests_common import APP, HOOKS, ROOT, body, get, running, variables

pytestmark = pytest.mark.servers

SHED = {
    "OVERLOAD.MAX_WAIT": 1,
    "OVERLOAD.QUEUE_TIME_HEADER": "X-Request-Start",
    "TIMEOUT": 30,
}


def ask(server, waited, path="/", family=socket.AF_INET):
    """Send a request that says that it has waited, and return the open connection."""
    connection = socket.create_connection(("127.0.0.1", server.port), 10)
    stamp = f"t={time.time() - waited:.3f}"
    connection.sendall(f"GET {path} HTTP/1.0\r\nX-Request-Start: {stamp}\r\n\r\n".encode())
    return connection


def status(connection):
    with connection:
        connection.settimeout(10)
        return connection.recv(100).split()[1].decode()


@pytest.mark.parametrize("name", ["uwsgi", "gunicorn"])
def test_a_request_that_waited_too_long_is_shed_only_while_there_is_a_queue(name):
    with server_of(name, SHED) as server:
        for _ in range(3):
            assert status(ask(server, 0)) == "200"
            time.sleep(0.01)
        assert status(ask(server, 100)) == "200"
        busy = ask(server, 0, "/sleep/0.5")
        time.sleep(0.1)
        late = ask(server, 100)
        behind = [ask(server, 0) for _ in range(3)]
        assert wait_until(
            lambda: sum(queue.depth for queue in sockets.listeners_of(server.pid)) >= 3, 5
        )
        assert [status(each) for each in (busy, late, *behind)] == [
            "200",
            "503",
            "200",
            "200",
            "200",
        ]
        server.wait_for_log("overloaded: requests that wait longer than 1.00 s are answered 503")


def test_a_client_that_keeps_its_connection_after_a_503_does_not_hold_a_sync_worker():
    """gunicorn waits up to 2 s for a client to close its end."""
    with server_of("gunicorn", SHED) as server:
        for _ in range(3):
            assert status(ask(server, 0)) == "200"
            time.sleep(0.01)
        busy = ask(server, 0, "/sleep/0.5")
        time.sleep(0.1)
        late, behind = ask(server, 100), ask(server, 0)
        assert status(busy) == "200"
        answered = time.monotonic()
        assert late.recv(100).split()[1] == b"503"
        assert status(behind) == "200"
        assert time.monotonic() - answered < 1
        late.close()


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_under_gunicorn_on_both_kinds_of_socket_only_clients_of_the_unix_one_are_taken_for_gone(
    preload,
):
    env = {"RESILIENT_WSGI_REQUEST_TIMEOUT": "30", "PYTHONPATH": str(ROOT)}
    with WithGunicorn(OnBoth(APP, preload, env=env)) as server:
        busy = ask(server, 0, "/sleep/0.5")
        time.sleep(0.1)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path_of(server))
            client.sendall(b"GET /gone HTTP/1.0\r\n\r\n")
        half_closed = ask(server, 0)
        half_closed.shutdown(socket.SHUT_WR)
        assert [status(each) for each in (busy, half_closed)] == ["200", "200"]
        server.wait_for_log(r'"GET /gone HTTP/1.0" 499')
        assert "the app runs" not in server.log()


@pytest.mark.parametrize("name", ["uwsgi", "gunicorn"])
def test_an_app_is_told_that_its_client_has_left(name):
    with server_of(name, {"CLIENT_LEFT": "report", "TIMEOUT": 30}, unix=True) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path_of(server))
            client.sendall(b"GET /gone HTTP/1.0\r\n\r\n")
            server.wait_for_log("the app runs")
        server.wait_for_log("the app saw its client leave")


def test_a_read_is_ended_when_its_client_leaves_if_that_is_asked_for():
    with server_of("uwsgi", {"CLIENT_LEFT": "enforce", "TIMEOUT": 30}, unix=True) as server:
        for method in ("GET", "POST"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(server.socket_path)
                client.sendall(f"{method} /hang HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode())
                time.sleep(0.4)
        server.wait_for_log(r"the client of GET /hang left after .* 1 wait ended")
        server.wait_for_log(r"the client of POST /hang left after .* no wait was ended")


def test_a_trusted_header_and_a_table_of_paths_shorten_the_deadline():
    environment = {
        "TIMEOUT": 30,
        "PATHS": '{"/hang": 0.5}',
        "TRUSTED_HEADERS": "X-Request-Timeout-Ms",
    }
    with running(HOOKS, environment) as server:
        begin = time.monotonic()
        assert body(server, "/hang") == "interrupted"
        assert body(server, "/hang/", {"X-Request-Timeout-Ms": "300"}) == "interrupted"
        assert time.monotonic() - begin < 5


def server_of(name, environment, unix=False):
    if name == "uwsgi":
        return running(HOOKS, environment, **({"listen_on": "http-unix"} if unix else {}))
    env = {**variables(environment), "PYTHONPATH": str(ROOT)}
    return WithGunicorn((OnUnixSocket if unix else Gunicorn)(APP, env=env))


class WithGunicorn:
    """gunicorn with a sync worker; skipped visibly where it is not installed."""

    def __init__(self, server):
        self._server = server

    def __enter__(self):
        try:
            return self._server.__enter__()
        except ToolMissing as missing:
            pytest.skip(str(missing))

    def __exit__(self, *exc):
        return self._server.__exit__(*exc)


class OnBoth(Gunicorn):
    """gunicorn on a port and on a UNIX socket in its folder."""

    def command(self):
        return [*super().command(), f"--bind=unix:{path_of(self)}", "--access-logfile=-"]


class OnUnixSocket(Gunicorn):
    """gunicorn on a UNIX socket in its folder."""

    def command(self):
        first, _, *rest = super().command()
        return [first, f"--bind=unix:{path_of(self)}", *rest]


def path_of(server):
    return str(server.directory / "uwsgi.sock")


def test_requests_of_every_kind_are_answered_as_if_nothing_were_there():
    """Half-closing clients on raw HTTP, bodies fast and slow, pipelined bytes: nobody is taken for
    gone or shed.
    """
    with running({**HOOKS, "threads": 2}, SHED) as server, ThreadPoolExecutor(4) as pool:

        def half_close(number):
            connection = ask(server, number % 2 / 4)
            connection.shutdown(socket.SHUT_WR)
            return status(connection)

        def with_body(number):
            with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
                connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: 8\r\n\r\nhalf")
                time.sleep(0.01 * (number % 3))
                connection.sendall(b"more")
                connection.settimeout(10)
                return connection.recv(100).split()[1].decode()

        def pipelined(number):
            with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
                connection.settimeout(10)
                return connection.recv(100).split()[1].decode()

        for kind in (half_close, with_body, pipelined):
            assert set(pool.map(kind, range(60))) == {"200"}, kind
        assert get(server, "/counts").good
        assert "ClientGone" not in body(server, "/counts")
