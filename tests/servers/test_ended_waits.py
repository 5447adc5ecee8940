"""Waits of any driver end at the deadline on real servers, and the worker goes on."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import pwd
import random
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.processes import Gunicorn, ToolMissing, wait_until
from resilient_wsgi import cli
from resilient_wsgi.host import waits, waits_chain
from tests.servers.requests_common import ROOT, get, running, stacks, variables

pytestmark = [
    pytest.mark.skipif(bool(waits_chain.why_not()), reason=waits_chain.why_not()),
    pytest.mark.servers,
    pytest.mark.skipif(bool(waits.why_not()), reason=waits.why_not()),
]

APP = "tests.servers.apps.ended_waits_app"
DEADLINE = {"TIMEOUT": 1}
LATE = 0.5
SERVERS = {
    "uwsgi-processes": {"processes": 1},
    "uwsgi-threads": {"threads": 3},
    "uwsgi-lazy": {"lazy-apps": True},
    "gunicorn-sync": ["--workers=1"],
    "gunicorn-gthread": ["--workers=1", "--threads=3"],
    "gunicorn-preload": ["--workers=1", "--preload"],
}
VIEWS = ["raw", "timeout", "connect", "tls", "smtp", "psycopg2", "psycopg", "pymysql"]


def echo(connection):
    with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
        for line in lines:
            time.sleep(float(line))
            connection.sendall(b"whole\n")


def answer(listener):
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()


@pytest.fixture(scope="module")
def upstreams():
    """The environment that names three upstreams: one says nothing, the queue of one is full, one
    answers.
    """
    with contextlib.ExitStack() as stack:
        silent, full, echoing = (
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=size))
            for size in (512, 0, 512)
        )
        for _ in range(3):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        time.sleep(0.1)
        threading.Thread(target=answer, args=(echoing,), daemon=True).start()
        ports = {"SILENT_PORT": silent, "FULL_PORT": full, "ECHO_PORT": echoing}
        yield {name: str(each.getsockname()[1]) for name, each in ports.items()}


@contextlib.contextmanager
def serving(kind, upstreams, options=(), more=()):
    how = SERVERS[kind] if isinstance(kind, str) else kind
    if isinstance(how, dict):
        with running({"module": APP, **how}, options, env_more=upstreams) as server:
            yield server
        return
    env = {**variables(options), **upstreams, "PYTHONPATH": str(ROOT)}
    try:
        server = Gunicorn(APP, ["--timeout=30", *how, *more], env=env)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


def status(pid):
    """Return what `resilient-wsgi status` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.main(["status", str(pid)])
    return out.getvalue()


def ask(server, path):
    """Return what a view says, which worker it was, and how long it took."""
    begin = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as response:
        said = response.read().decode()
        return said, response.headers["X-Worker"], time.monotonic() - begin


@pytest.mark.parametrize("kind", SERVERS)
def test_waits_of_any_driver_end_at_the_deadline_and_the_worker_goes_on(kind, upstreams):
    views = [view for view in VIEWS if not view.startswith(("psycopg", "pymysql"))]
    views += [each for each in VIEWS[5:] if importlib.util.find_spec(each)]
    with serving(kind, upstreams, DEADLINE) as server:
        _, worker, _ = ask(server, "/pid")
        for view in views:
            said, by, took = ask(server, f"/{view}")
            assert said.startswith("ended"), view
            assert 0.95 < took < 1 + LATE, view
            assert ask(server, "/echo/0.01")[:2] == ("done", worker), view
            assert by == worker, view
        # drivers in Python end their waits themselves
        how = ("ended the wait for", "ended the connect to", "gave up on")
        assert wait_until(lambda: sum(map(server.log().count, how)) >= len(views), 10)
        server.wait_for_log("gave up on smtplib 127.0.0.1:")
        log = server.log()
        assert "has passed its deadline of 1 s; 1 wait ended" in log
        assert "will be replaced" not in log


def test_the_line_names_the_upstream_and_the_line_of_the_app(upstreams):
    with serving("uwsgi-threads", upstreams, DEADLINE) as server:
        ask(server, "/raw")
        ask(server, "/connect")
        port, full = upstreams["SILENT_PORT"], upstreams["FULL_PORT"]
        server.wait_for_log(
            rf"ended the wait for 127.0.0.1:{port}: GET /raw has passed its deadline of 1 s "
            r"\(1\.\d+ s; caller .*ended_waits_app.py:\d+ in raw\)\. Fix: "
        )
        server.wait_for_log(f"ended the connect to 127.0.0.1:{full}: GET /connect")
        server.wait_for_log(f"GET /raw has run for .*, waiting for 127.0.0.1:{port}")


def test_a_client_that_connects_again_by_itself_is_ended_again(upstreams):
    with serving("uwsgi-threads", upstreams, DEADLINE) as server:
        said, _, took = ask(server, "/retries")
        assert said == "ended ConnectionError"
        assert took < 1 + LATE + 3 * 0.5
        server.wait_for_log("3 waits of this request by now: its client connects again each time")


@pytest.mark.parametrize("kind", ["uwsgi-threads", "gunicorn-gthread"])
def test_what_cannot_be_ended_is_named(kind, upstreams):
    with serving(kind, upstreams, DEADLINE) as server, ThreadPoolExecutor(2) as pool:
        assert ask(server, "/sleep/2")[0] == "done"
        server.wait_for_log(
            "GET /sleep/2 has passed its deadline of 1 s; no wait could be ended, waiting for the "
            "end of a sleep"
        )
        holding = pool.submit(ask, server, "/hold")
        time.sleep(0.2)
        waiting = pool.submit(ask, server, "/locked")
        (line,) = server.wait_for_log(
            "GET /locked has passed its deadline of 1 s; no wait could be ended, (waiting for .*)"
        )
        assert "a lock held by thread '" in line.group(1)
        assert "in hold (ended_waits_app.py:" in line.group(1)
        assert "GET /locked for" in (text := stacks(server.pid)[0])
        assert "waiting for a lock held by" in text
        assert "GET /locked, waiting for a lock held by" in status(server.pid)
        ask(server, "/let-go")
        assert [each.result()[0] for each in (holding, waiting)] == ["done", "done"]


def test_what_a_killed_worker_waited_for_is_named_whatever_the_driver(upstreams):
    with (
        serving({"processes": 1}, upstreams, {"TIMEOUT": 30}) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        _, worker, _ = ask(server, "/pid")
        asked = pool.submit(get, server, "/raw")
        time.sleep(2)
        os.kill(int(worker), 9)
        asked.result()
        ask(server, "/pid")
        port = upstreams["SILENT_PORT"]
        server.wait_for_log(rf"was killed in GET /raw after .* s, waiting for 127.0.0.1:{port}")


@pytest.mark.parametrize("options", [{"MODE": "report"}, {"END_WAITS": "known"}])
def test_nothing_is_ended_where_that_is_not_wanted(options, upstreams):
    more = {**DEADLINE, **options, "RECYCLES_PER_MINUTE": 0}
    with serving("uwsgi-threads", upstreams, more) as server:
        assert not get(server, "/raw", 2.5).good
        server.wait_for_log("GET /raw has passed its deadline of 1 s; .*, waiting for 127.0.0.1")
        assert "ended the wait" not in server.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
@pytest.mark.parametrize("kind", ["uwsgi", "gunicorn"])
def test_where_the_user_was_changed_the_reason_and_the_remedy_are_said(kind, upstreams):
    """As with uWSGI's option uid, which this Python might not be readable after."""
    how = {"threads": 2} if kind == "uwsgi" else ["--threads=2", "--user=nobody", "--preload"]
    options = {**DEADLINE, "RECYCLES_PER_MINUTE": 0}
    run_as = {"RUN_AS": str(pwd.getpwnam("nobody").pw_uid)} if kind == "uwsgi" else {}
    with serving(how, {**upstreams, **run_as}, options) as server:
        assert not get(server, "/raw", 2.5).good
        said, _, _ = ask(server, "/status")
        reason = "only registered waits and those of HTTP clients are ended: this process has"
        assert reason in said
        assert "systemd: User=" in said
        server.wait_for_log(reason)
        assert "ended the wait" not in server.log()


def test_gevent_is_refused(upstreams):
    pytest.importorskip("gevent")
    with serving(["--worker-class=gevent"], upstreams, DEADLINE) as server:
        assert not get(server, "/raw", 2.5).good
        assert "gevent has replaced the sockets" in ask(server, "/status")[0]
        assert "ended the wait" not in server.log()


@pytest.mark.parametrize(
    "kind",
    [{"threads": 30, "listen": 100}, ["--workers=1", "--threads=30"]],
    ids=["uwsgi", "gunicorn"],
)
def test_requests_that_end_before_their_deadline_are_never_touched(kind, upstreams):
    """In a socket at half to nine tenths of their time. Those that the machine has made late do
    not count.
    """
    count = int(os.environ.get("REQUESTS", "600"))
    at_random = random.Random(16)
    paths = [f"/echo/{at_random.uniform(0.5, 0.9):.3f}" for _ in range(count)]
    with serving(kind, upstreams, DEADLINE) as server, ThreadPoolExecutor(30) as pool:
        asked = list(pool.map(lambda path: ask(server, path), paths))
        in_time = [said for said, _, took in asked if took < 1]
        assert in_time
        assert set(in_time) == {"done"}
        ended = server.log().count("ended the wait")
        assert ended <= len(asked) - len(in_time)
        print(f"{len(in_time)} of {count} in time, {ended} ended")
