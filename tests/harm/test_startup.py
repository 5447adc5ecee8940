"""What an operator sees and can switch: the startup line, one variable for everything, workers that
are covered at once.
"""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

import resilient_wsgi
from lab.processes import Gunicorn, Server, ToolMissing, wait_until
from resilient_wsgi import startup
from resilient_wsgi.app import wrap
from resilient_wsgi.request.running import Running
from resilient_wsgi.settings import sources
from resilient_wsgi.settings.options import SECTIONS
from tests.servers.requests_common import stacks

NAMES = [name.lower() for name in SECTIONS]


def modes(environ, django=None, arguments=None):
    settings = sources.find(arguments, django, environ).settings
    return {name: getattr(settings, name).mode for name in NAMES}


def test_report_is_a_dry_run_of_everything():
    code = {"OUTBOUND": {"MODE": "enforce"}, "STDERR": "enforce"}
    assert set(modes({"RESILIENT_WSGI": "report"}, code, {"REQUEST": "enforce"}).values()) == {
        "report"
    }


def test_what_is_off_stays_off_in_a_dry_run():
    got = modes({"RESILIENT_WSGI": "report", "RESILIENT_WSGI_BACKLOG": "off"}, {"STDERR": "off"})
    assert {name for name, mode in got.items() if mode == "off"} == {"backlog", "stderr"}


def test_a_section_that_the_environment_names_is_as_it_says_in_a_dry_run():
    got = modes({"RESILIENT_WSGI": "report", "RESILIENT_WSGI_STDERR": "enforce"})
    assert got.pop("stderr") == "enforce"
    assert set(got.values()) == {"report"}


def test_off_wins_over_code_and_over_every_mistake():
    environ = {
        "RESILIENT_WSGI": "off",
        "RESILIENT_WSGI_REQUEST_TIMEOUT": "soon",
        "RESILIENT_WSGI_NONSENSE": "1",
    }
    assert set(modes(environ, {"REQEUST": 1}, {"OUTBOUND": "enforce"}).values()) == {"off"}


def test_what_switched_a_section_off_is_named():
    assert (
        sources.switched_off_by("STDERR", {"RESILIENT_WSGI": "off"})
        == "RESILIENT_WSGI=off in the environment"
    )
    environ = {"RESILIENT_WSGI_STDERR_MODE": "Off"}
    assert (
        sources.switched_off_by("STDERR", environ)
        == "RESILIENT_WSGI_STDERR_MODE=Off in the environment"
    )
    assert sources.switched_off_by("STDERR", {}) == "STDERR.MODE is off"


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("RESILIENT_WSGI", "reprot", "it takes on | report | off; did you mean 'report'?"),
        ("RESILIENT_WSGI_MODE", "report", "RESILIENT_WSGI=report is a dry run of everything"),
        ("RESILIENT_WSGI_REQUESTS_TIMEOUT", "5", "did you mean 'RESILIENT_WSGI_REQUEST_TIMEOUT'?"),
        ("RESILIENT_WSGI_OUTBUND", "off", "did you mean 'RESILIENT_WSGI_OUTBOUND'?"),
        ("RESILIENT_WSGI_REQUEST_TIMOUT", "5", "did you mean 'RESILIENT_WSGI_REQUEST_TIMEOUT'?"),
        (
            "RESILIENT_WSGI_LOGGING",
            "off",
            f"the sections are {', '.join(SECTIONS)}",
        ),
        ("RESILIENT_WSGI_REQUEST_QQQQ", "1", "the options of REQUEST are MODE, "),
    ],
)
def test_a_mistake_in_a_variable_names_what_is_near(variable, value, hint):
    (mistake,) = sources.find(environ={variable: value}).environment
    assert hint in mistake


def test_a_service_of_that_name_in_kubernetes_is_no_setting():
    service = {
        "RESILIENT_WSGI_SERVICE_HOST": "10.0.0.1", "RESILIENT_WSGI_SERVICE_PORT": "80",
        "RESILIENT_WSGI_PORT": "tcp://10.0.0.1:80", "RESILIENT_WSGI_SERVICE_PORT_HTTP": "80",
        "RESILIENT_WSGI_PORT_80_TCP_ADDR": "10.0.0.1", "RESILIENT_WSGI_PORT_80_TCP": "x",
    }  # fmt: skip
    assert sources.find(environ=service) == sources.find(environ={})


def test_wrap_without_install_is_logged_at_the_first_request(caplog):
    app = wrap(lambda environ, start_response: [])
    assert "without install()" not in caplog.text
    for _ in range(2):
        app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    assert caplog.text.count("wrap() without install(): outbound calls are not limited") == 1


def test_load_without_install_is_no_wrap_without_install(caplog):
    app = resilient_wsgi.load("wsgiref.simple_server:demo_app")
    for each in (app, copy.deepcopy(app)):
        each({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    assert "without install()" not in caplog.text


def test_wrap_after_install_is_not(caplog):
    installed = resilient_wsgi.install({"STDERR": "off"})
    try:
        wrap(lambda environ, start_response: [])(
            {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None
        )
    finally:
        installed.uninstall()
    assert "without install()" not in caplog.text


def test_the_line_goes_through_logging_where_that_shows_it_and_else_to_standard_error(
    caplog, capsys
):
    with caplog.at_level(logging.INFO):
        startup.say("the line")
    assert caplog.messages == ["the line"]
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        startup.say("the line")
    assert caplog.messages == []
    assert capsys.readouterr().err == "the line\n"


def test_the_line_is_logged_once_however_often_the_library_is_switched_off_and_on(capsys):
    installed = resilient_wsgi.install({"STDERR": "off"})
    try:
        app = wrap(lambda environ, start_response: [])
        for _ in range(3):
            app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
            with resilient_wsgi.off():
                pass
    finally:
        installed.uninstall()
    assert capsys.readouterr().err.count("; requests: ") <= 1


def test_requests_that_begin_while_a_worker_gets_ready_stay_in_the_table():
    table = Running()
    slots, ready = [], threading.Barrier(5)

    def request():
        slot = table.add_thread()
        slot.request = object()
        slots.append(slot)
        ready.wait(10)
        ready.wait(10)

    threads = [threading.Thread(target=request) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    table.begin(slots[0].pid)
    assert set(table.slots.values()) == set(slots)
    table.slots[0] = slot = type(slots[0])(0, None)
    slot.pid = 1  # the parent's
    table.begin(-1)
    assert table.slots == {}
    ready.wait(10)
    for thread in threads:
        thread.join(10)


DJANGO = """
import os, sys, time
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["resilient_wsgi.django"],
    DATABASES={}, RESILIENT_WSGI={"OUTBOUND": {"TOTAL_TIMEOUT": 20}},
)
from django.http import HttpResponse
from django.urls import path
def sleep(request):
    time.sleep(1.5)
    return HttpResponse("slept")
urlpatterns = [path("sleep", sleep)]
if "manage" in sys.argv[0]:
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
else:
    from django.core.wsgi import get_wsgi_application
    application = get_wsgi_application()
"""
HOOKS = {"shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready"}
MODES = {
    "uwsgi, prefork": {}, "uwsgi, prefork, hooks": HOOKS, "uwsgi, lazy": {"lazy-apps": True},
    "uwsgi, lazy, hooks": {**HOOKS, "lazy-apps": True}, "gunicorn": [],
    "gunicorn, preload": ["--preload"],
    "gunicorn, threads": ["--threads=4"],
}  # fmt: skip


def serve(tmp_path, mode, processes=2, **env):
    (tmp_path / "project.py").write_text(DJANGO)
    options = MODES[mode]
    try:
        if mode.startswith("uwsgi"):
            base = {
                "module": "project",
                "master": True,
                "enable-threads": True,
                "pythonpath": str(tmp_path),
            }
            return Server({**base, "processes": processes, "threads": 4, **options}, env=env)
        env = {"PYTHONPATH": str(tmp_path), **env}
        return Gunicorn("project:application", [f"--workers={processes}", *options], env=env)
    except ToolMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.servers
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "gunicorn, threads"])
def test_under_django_workers_are_covered_from_their_start_and_one_line_says_so(mode, tmp_path):
    with serve(tmp_path, mode, RESILIENT_WSGI_REQUEST_TIMEOUT="30") as server:
        # before any request
        assert wait_until(lambda: all(stacks(pid)[1] == 0 for pid in server.workers()), 10)
        (line,) = server.wait_for_log(r"resilient_wsgi \d+\.\d+\.\d+ on (\w+): .*")
        time.sleep(0.3)
        assert server.log().count("; requests: ") == 1
    assert line.group(1) == mode.partition(",")[0]
    for word in (
        "stderr enforce",
        "outbound enforce",
        "request enforce",
        "deadline 30 s (REQUEST.TIMEOUT)",
    ):
        assert word in line.group()


@pytest.mark.servers
@pytest.mark.parametrize(
    ("mode", "remedy"),
    [
        ("uwsgi, prefork, hooks", "set REQUEST.TIMEOUT or harakiri to get one"),
        ("gunicorn", "set REQUEST.TIMEOUT to get one"),
    ],
)  # fmt: skip
def test_the_line_says_that_there_is_no_deadline_and_how_to_get_one(mode, remedy, tmp_path):
    with serve(tmp_path, mode) as server:
        (line,) = server.wait_for_log(r"; requests: ([^;\n]*)")
    assert line.group(1) == f"no deadline: {remedy}"


@pytest.mark.servers
@pytest.mark.parametrize(
    ("mode", "timeout", "env", "hint"),
    [
        (
            "gunicorn", 10, {},
            (
                "kills a worker after 10 s (timeout), and outbound calls may take 20 s: "
                "set REQUEST.TIMEOUT below 10"
            ),
        ),
        ("gunicorn", 20, {}, ""),
        ("gunicorn", 10, {"RESILIENT_WSGI_REQUEST_TIMEOUT": "8"}, ""),
        ("gunicorn", 10, {"RESILIENT_WSGI_OUTBOUND": "off"}, ""),
        ("gunicorn, threads", 10, {}, ""),  # which notifies the arbiter while requests run
    ],
)  # fmt: skip
def test_the_line_says_where_gunicorn_kills_a_worker_before_its_outbound_calls_end(
    mode, timeout, env, hint, tmp_path
):
    with serve(tmp_path, mode, GUNICORN_CMD_ARGS=f"--timeout={timeout}", **env) as server:
        (line,) = server.wait_for_log(r"; requests: .*")
    assert ("; gunicorn " in line.group()) == bool(hint)
    assert hint in line.group()


@pytest.mark.servers
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.startswith("uwsgi")])
def test_a_listen_queue_that_is_short_is_logged_once(mode, tmp_path):
    with serve(tmp_path, mode) as server:
        server.wait_for_log("; requests: ")
        assert server.log().count("listen queue of") == 1


@pytest.mark.servers
@pytest.mark.parametrize("mode", ["uwsgi, lazy", "gunicorn, threads"])
def test_requests_that_start_together_in_a_new_worker_are_all_listed(mode, tmp_path):
    with serve(tmp_path, mode, processes=1) as server, ThreadPoolExecutor(4) as pool:
        (worker,) = server.workers()
        assert wait_until(lambda: stacks(worker)[1] == 0, 10)
        url = f"http://127.0.0.1:{server.port}/sleep"
        asked = [pool.submit(urllib.request.urlopen, url, timeout=20) for _ in range(4)]
        listed = wait_until(lambda: stacks(worker)[0].count("GET /sleep for") >= 4, 1.3)
        assert [one.result().status for one in asked] == [200] * 4
    assert listed


@pytest.mark.servers
@pytest.mark.parametrize("mode", ["uwsgi, prefork, hooks", "gunicorn"])
def test_a_server_runs_with_everything_off(mode, tmp_path):
    with serve(tmp_path, mode, RESILIENT_WSGI="off", RESILIENT_WSGI_REQUEST_TIMEOUT="x") as server:
        (line,) = server.wait_for_log(r"resilient_wsgi \d+\.\d+\.\d+ on (\w+): .*")
        assert {f"{name} off" for name in {*NAMES, "overload"}} == set(
            line.group().partition(": ")[2].partition(";")[0].split(", ")
        )
        assert (
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/sleep", timeout=10).status
            == 200
        )


def test_the_deployment_check_says_that_requests_have_no_deadline(tmp_path):
    (tmp_path / "manage.py").write_text(DJANGO)

    def check(*arguments):
        command = [sys.executable, "manage.py", "check", *arguments, "--tag", "resilient_wsgi"]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stderr

    assert "resilient_wsgi.D17" not in check()
    assert "(resilient_wsgi.D17) REQUEST.TIMEOUT is not set" in check("--deploy")


@pytest.mark.servers
def test_a_worker_of_gevent_that_patches_threading_late_ends_without_a_traceback(tmp_path):
    pytest.importorskip("gevent")
    (tmp_path / "app.py").write_text(
        "import resilient_wsgi\n"
        "resilient_wsgi.install()\n"
        "def answer(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'ok']\n"
        "application = resilient_wsgi.wrap(answer)\n"
    )
    base = {
        "master": True,
        "die-on-term": True,
        "lazy-apps": True,
        "module": "app",
        "pythonpath": str(tmp_path),
    }
    try:
        with Server({**base, **HOOKS, "gevent": 10, "gevent-monkey-patch": True}) as server:
            assert (
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10).read()
                == b"ok"
            )
            server.stop()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    assert "Traceback" not in server.log()
