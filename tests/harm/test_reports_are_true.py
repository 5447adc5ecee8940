"""What the log says at the start, of a killed worker, of a thread that was left behind: what is so, and nothing else."""

from __future__ import annotations

import urllib.request

import pytest

from lab.processes import Gunicorn, Server, ToolMissing

PLAIN_APP = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"""
INSTALLED_APP = f"import resilient_wsgi\n{PLAIN_APP}\nresilient_wsgi.install()\n"
WRAPPED_APP = f"{INSTALLED_APP}\napplication = resilient_wsgi.wrap(application)\n"
HOOKS = {"shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready"}
NO_APP = "no deadline: no app is wrapped (INSTALLED_APPS or wrap())"
DEADLINE = "deadline 28.5 s (harakiri 30 s)"


def uwsgi(tmp_path, app, **options):
    (tmp_path / "project.py").write_text(app)
    base = {"module": "project", "master": True, "enable-threads": True, "pythonpath": str(tmp_path), "harakiri": 30}
    try:
        return Server({**base, **options})
    except ToolMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.servers
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("app", "options", "words"),
    [
        (PLAIN_APP, HOOKS, NO_APP),
        (PLAIN_APP, {"shared-import": "resilient_wsgi.uwsgi"}, NO_APP),
        (WRAPPED_APP, HOOKS, DEADLINE),
        (WRAPPED_APP, {}, DEADLINE),
    ],
    ids=["two lines", "one line", "wrapped, two lines", "wrapped"],
)
def test_the_startup_line_claims_a_deadline_only_for_an_app_that_is_wrapped(tmp_path, app, options, words, lazy):
    with uwsgi(tmp_path, app, **options, **({"lazy-apps": True} if lazy else {})) as server:
        (line,) = server.wait_for_log(r"; requests: (.*)")
    unknown = lazy and app == WRAPPED_APP and not options
    assert line.group(1) == words + (", once an app is wrapped" if unknown else "")


@pytest.mark.servers
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_under_gunicorn_too(tmp_path, preload):
    (tmp_path / "project.py").write_text(INSTALLED_APP)
    with Gunicorn("project:application", preload, env={"PYTHONPATH": str(tmp_path)}) as server:
        (line,) = server.wait_for_log(r"; requests: (.*)")
    assert line.group(1) == NO_APP


STATUS_APP = """
import resilient_wsgi
installed = resilient_wsgi.install()

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(line).encode() + b"\\n" for line in installed.status()]
"""


@pytest.mark.servers
def test_status_claims_no_stacks_and_no_watchdog_where_no_app_is_wrapped(tmp_path):
    with uwsgi(tmp_path, STATUS_APP, **HOOKS) as server:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10).read().decode()
    (request,) = (line for line in answer.splitlines() if line.startswith("request:"))
    assert request.endswith(
        "no app is wrapped (INSTALLED_APPS or wrap()): no deadline, no watchdog, no stacks on demand"
    )


DYING_APP = """
import os, signal, time
import resilient_wsgi

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path != "/die-at-once":
        time.sleep(1.0)
    if path.startswith("/die"):
        os.kill(os.getpid(), signal.SIGKILL)
    start_response("200 OK", [])
    return [b"slept"]

resilient_wsgi.install({"REQUEST": {"SLOW_AFTER": 0.3}})
application = resilient_wsgi.wrap(app)
"""


@pytest.mark.servers
def test_a_killed_worker_is_reported_with_the_stacks_of_that_request_alone(tmp_path):
    with uwsgi(tmp_path, DYING_APP, **HOOKS) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert urllib.request.urlopen(f"{url}/slow", timeout=10).read() == b"slept"
        for path in ("/die-at-once", "/die"):
            with pytest.raises(OSError):
                urllib.request.urlopen(url + path, timeout=10)
            server.wait_for_log(f"was killed in GET {path} after")
        (at_once,) = server.wait_for_log(r"was killed in GET /die-at-once after .*\n(.*)")
        (later,) = server.wait_for_log(r"was killed in GET /die after .*\nstacks taken (.*) s earlier:\n(.*)")
    assert "stacks" not in at_once.group(1)
    assert "thread" not in at_once.group(1)
    assert 0.2 < float(later.group(1)) < 1.5
    assert ", in GET /die for" in later.group(2)
