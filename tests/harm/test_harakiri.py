"""A request has as long as the server gives it, whatever gives it: the option, a route, a body, the
app.
"""

from __future__ import annotations

import contextlib
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.measuring import load
from lab.processes import Server, ToolMissing
from lab.processes.base import find_tool

pytestmark = pytest.mark.servers

APP = """
import os, time
import uwsgi
import resilient_wsgi
from resilient_wsgi import deadline

def app(environ, start_response):
    name, _, argument = environ["PATH_INFO"].strip("/").partition("/")
    if name == "user":
        for seconds in argument.split(","):
            uwsgi.set_user_harakiri(int(seconds))
    if name == "sleep":
        time.sleep(float(argument))
    if name == "extend":
        with deadline.limit(float(argument), extend=True):
            pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(str(os.getpid()) if name == "sleep" else repr(deadline.remaining())).encode()]

resilient_wsgi.install()
application = resilient_wsgi.wrap(app)
"""


@contextlib.contextmanager
def running(tmp_path, environment=(), **options):
    (tmp_path / "app.py").write_text(APP)
    env = {
        f"RESILIENT_WSGI_REQUEST_{name}": str(value) for name, value in dict(environment).items()
    }
    base = {"module": "app", "pythonpath": str(tmp_path), "master": True, "enable-threads": True}
    hooks = {"shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready"}
    try:
        made = Server({**base, **hooks, **options}, env=env)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with made as server:
        yield server


def ask(server, path, data=None):
    with urllib.request.urlopen(
        f"http://127.0.0.1:{server.port}{path}", data, timeout=20
    ) as answer:
        return answer.read().decode()


def remaining(server, path="/", data=None):
    """Return the seconds that a request has, None without a deadline."""
    answer = ask(server, path, data)
    return None if answer == "None" else float(answer)


def test_a_body_that_uwsgi_buffers_adds_to_the_deadline_what_it_adds_to_harakiri(tmp_path):
    with running(tmp_path, **{"harakiri": 4, "post-buffering": 4096}) as server:
        assert 2 < remaining(server) <= 2.5
        assert 6 < remaining(server, data=b"x" * 90) <= 7.5
        assert 14 < remaining(server, data=b"x" * 9000) <= 15.5


def test_a_request_with_a_body_may_outlast_the_option_harakiri_as_without_the_library(tmp_path):
    short = {"OVERDUE_GRACE": 0.2}
    with running(tmp_path, short, **{"harakiri": 2, "post-buffering": 4096}) as server:
        pid = ask(server, "/sleep/0")
        assert ask(server, "/sleep/2.5", b"x" * 90) == pid
        assert ask(server, "/sleep/0") == pid
        assert "has passed its deadline" not in server.log()


def test_a_harakiri_that_the_app_sets_for_a_request_is_followed(tmp_path):
    with running(tmp_path) as server:
        assert remaining(server) is None
        assert 57 < remaining(server, "/user/60") <= 60
        assert 297 < remaining(server, "/user/10,300") <= 300
        assert remaining(server, "/user/10,0") is None
        assert remaining(server) is None


def test_the_app_s_harakiri_is_followed_beside_the_option(tmp_path):
    with running(tmp_path, harakiri=20) as server:
        assert 7 < remaining(server, "/user/9") <= 9
        assert 18 < remaining(server, "/user/60") <= 19.5  # the option's comes first


def test_a_harakiri_that_depends_on_the_listen_queue_is_no_deadline(tmp_path):
    with running(tmp_path, **{"harakiri": 4, "harakiri-queue-threshold": 3}) as server:
        assert remaining(server) is None
        server.wait_for_log(
            r"no deadline: set REQUEST.TIMEOUT \(harakiri depends on harakiri-queue-threshold\)"
        )


def test_without_a_master_a_body_that_is_buffered_is_not_limited_by_what_is_not_known(tmp_path):
    with running(tmp_path, **{"harakiri": 4, "post-buffering": 4096, "master": False}) as server:
        assert 2 < remaining(server) <= 2.5
        assert remaining(server, data=b"x" * 90) is None


def has_routes():
    with contextlib.suppress(ToolMissing):
        done = subprocess.run(
            [find_tool("uwsgi"), "--help"], capture_output=True, text=True, check=False
        )
        return "--route " in done.stdout
    return False


@pytest.mark.skipif(
    not has_routes(), reason="this uWSGI has no internal routing (built without pcre)"
)
@pytest.mark.parametrize(
    "mode", [{}, {"threads": 2}, {"lazy-apps": True}], ids=["prefork", "threads", "lazy"]
)
def test_a_route_s_harakiri_is_followed(tmp_path, mode):
    paths = {"PATHS": '{"/export": 40}', "TIMEOUT": 5}
    with running(tmp_path, paths, route="^/(export|other) harakiri:60", **mode) as server:
        assert remaining(server, "/") == pytest.approx(5, abs=0.2)
        assert remaining(server, "/export") == pytest.approx(40, abs=0.2)
    with running(tmp_path, route="^/export harakiri:60", **mode) as server:
        assert 57 < remaining(server, "/export") <= 60
        assert remaining(server, "/") is None


def test_a_view_extends_its_deadline_as_far_as_harakiri_allows(tmp_path):
    with running(tmp_path, {"TIMEOUT": 2}, harakiri=20) as server:
        assert 9 < remaining(server, "/extend/10") <= 10
        assert 18 < remaining(server, "/extend/60") <= 19.5
        assert remaining(server, "/extend/1") > 1.8


def test_a_slow_view_beside_traffic_in_other_threads_is_answered_by_the_worker_that_began_it(
    tmp_path,
):
    """uWSGI 2.0 has one harakiri for all threads, and any request that ends clears it."""
    with (
        running(tmp_path, {"OVERDUE_GRACE": 0.2}, harakiri=2, threads=4) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        pid = ask(server, "/sleep/0")
        with load.Load(server.port, [load.Rate("/", 10)], seconds=30) as traffic:
            slow = pool.submit(ask, server, "/sleep/4")
            assert slow.result() == pid
        assert ask(server, "/sleep/0") == pid
        assert all(answer.good for answer in traffic.answers)
        assert "will be replaced" not in server.log()
