"""What the log says at the start, of a killed worker, of a thread that was left behind: what is so,
and nothing else.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from typing import Any, Dict

import pytest
import requests

import resilient_wsgi
from lab.processes import Gunicorn, Server, ToolMissing, wait_until
from resilient_wsgi import events
from resilient_wsgi.outbound.call_sites import Site
from resilient_wsgi.testing import hung_server
from resilient_wsgi.threads.origin import stack_of
from tests.servers.requests_common import stacks

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
    base = {
        "module": "project",
        "master": True,
        "enable-threads": True,
        "pythonpath": str(tmp_path),
        "harakiri": 30,
    }
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
def test_the_startup_line_claims_a_deadline_only_for_an_app_that_is_wrapped(
    tmp_path, app, options, words, lazy
):
    with uwsgi(tmp_path, app, **options, **({"lazy-apps": True} if lazy else {})) as server:
        (line,) = server.wait_for_log(r"; requests: ([^;\n]*)")
    unknown = lazy and app == WRAPPED_APP and not options
    assert line.group(1) == words + (", once an app is wrapped" if unknown else "")


@pytest.mark.servers
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_under_gunicorn_too(tmp_path, preload):
    (tmp_path / "project.py").write_text(INSTALLED_APP)
    with Gunicorn("project:application", preload, env={"PYTHONPATH": str(tmp_path)}) as server:
        (line,) = server.wait_for_log(r"; requests: ([^;\n]*)")
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
        answer = (
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10).read().decode()
        )
    (request,) = (line for line in answer.splitlines() if line.startswith("request:"))
    assert request.endswith(
        "no app is wrapped (INSTALLED_APPS or wrap()): no deadline, no watchdog, no stacks on "
        "demand"
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
        (later,) = server.wait_for_log(
            r"was killed in GET /die after .*\nstacks taken (.*) s earlier:\n(.*)"
        )
    assert "stacks" not in at_once.group(1)
    assert "thread" not in at_once.group(1)
    assert 0.2 < float(later.group(1)) < 1.5
    assert ", in GET /die for" in later.group(2)


@pytest.mark.servers
def test_threads_of_ours_that_threading_does_not_know_have_a_name(tmp_path):
    with uwsgi(tmp_path, WRAPPED_APP, **HOOKS, threads=2) as server:
        (worker,) = server.workers()
        assert wait_until(lambda: stacks(worker)[1] == 0, 10)
        text = stacks(worker)[0]
    assert "thread 'resilient_wsgi servers.uwsgi.signals'" in text
    assert "thread '?'" not in text


def test_what_ends_a_wait_of_a_call_is_not_shown_as_caused_by_an_error_of_ours():
    def end(*_):
        raise SystemExit(1)

    installed = resilient_wsgi.install({"STDERR": "off"})
    before = signal.signal(signal.SIGALRM, end)
    try:
        with hung_server() as (host, port), pytest.raises(SystemExit) as raised:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            requests.get(f"http://{host}:{port}/", timeout=None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        installed.uninstall()
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("ended", "words"), [(0, "no wait could be ended"), (1, "1 wait ended"), (2, "2 waits ended")]
)  # fmt: skip
def test_the_waits_that_were_ended_are_counted_in_words(ended, words):
    overdue = events.RequestOverdue("GET", "/", 1.6, 1.5, ended)
    assert str(overdue) == f"GET / has passed its deadline of 1.5 s; {words}"
    left = str(events.ClientLeft("GET", "/", 0.5, ended))
    assert left.endswith(words.replace("could be", "was"))


@pytest.mark.parametrize(
    "problem",
    [
        "given up after 1 s (OUTBOUND.TOTAL_TIMEOUT)",
        "without a timeout",
        "beyond 1 s (OUTBOUND.READ_TIMEOUT)",
    ],
)
def test_a_line_of_the_app_that_called_somebody_is_named_in_a_sentence(problem):
    said = str(Site("shop.py:11", "api.example", problem, 3, 1.25))
    assert said == f"shop.py:11: call to api.example {problem}: 3 x, at worst 1.25 s"


SHOP = """
import sys, threading
from resilient_wsgi.threads.origin import Origin

def refresh_prices():
    end.wait()

end = threading.Event()
thread = threading.Thread(target=refresh_prices, daemon=True)
thread.start()
origin = Origin(sys._getframe())
"""


def test_a_thread_that_was_left_behind_is_named_without_a_source_that_may_be_another_by_now(
    tmp_path,
):
    file = tmp_path / "shop.py"
    file.write_text(40 * "another_version()\n")
    shop: Dict[str, Any] = {}
    exec(compile(SHOP, str(file), "exec"), shop)
    try:
        stands, started = stack_of(shop["thread"]), str(shop["origin"])
    finally:
        shop["end"].set()
    assert f'File "{file}", line 6, in refresh_prices' in stands
    assert f'File "{file}", line 11, in <module>' in started
    assert "another_version" not in stands + started


DJANGO = """
import sys
from django.conf import settings
settings.configure(SECRET_KEY="x", INSTALLED_APPS=["resilient_wsgi.django"], DATABASES={})
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


def test_the_command_of_django_says_that_it_describes_its_own_process(tmp_path):
    (tmp_path / "manage.py").write_text(DJANGO)
    command = [sys.executable, "manage.py", "resilient_status"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    first, *_ = done.stdout.splitlines()
    assert first == (
        "this is manage.py's own process; for a running instance see the line that it logged at "
        "startup, "
        "or `resilient-wsgi status PID`"
    )
