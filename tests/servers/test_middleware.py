"""The middleware under real servers: WSGI kept to the letter."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lab.processes import Gunicorn, Server

ROOT = Path(__file__).parents[2]
APP = "tests.servers.apps.plain_app"
UWSGI = {
    "master": True,
    "processes": 1,
    "pythonpath": str(ROOT),
    "module": APP,
    "harakiri": 20,
    "need-app": True,
}


@pytest.fixture(params=["uwsgi", "gunicorn"])
def server(request):
    if request.param == "uwsgi":
        made = Server(UWSGI)
    else:
        made = Gunicorn(f"{APP}:application", ["--workers=1"], env={"PYTHONPATH": str(ROOT)})
    with made:
        yield made


def test_the_deadline_comes_from_harakiri(get):
    with Server(UWSGI) as server:
        assert 18 < float(get(server.port).split()[2]) <= 18.5


def test_close_is_called_once_also_when_the_client_goes(server):
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        client.recv(100)
    server.wait_for_log("HOOK closed", 20)
    # the next request comes after the end of that
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        client.recv(100)
    assert server.log().count("HOOK closed") == 1


def test_a_file_is_sent_by_the_server_itself(server, get):
    assert get(server.port, "/file") == (ROOT / "tests/servers/apps/plain_app.py").read_bytes()


def test_an_exception_of_the_app_passes_as_it_is(get):
    with Server({**UWSGI, "module": "tests.servers.apps.hooks_app"}) as server:
        assert get(server.port).startswith(b"worker")
