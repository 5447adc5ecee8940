"""What operators do wrong, and what they are told: a mistake never stops a service that would run
without the library.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import urllib.request

import pytest

import resilient_wsgi
from lab.processes import Gunicorn, Server, ToolMissing, wait_until
from resilient_wsgi import installation, servers, startup
from resilient_wsgi.cli import main, ready, target
from resilient_wsgi.events.lifecycle import LAST, PAUSED, WAITS
from resilient_wsgi.readiness.load_policy import LoadPolicy
from resilient_wsgi.readiness.states import DRAINED
from resilient_wsgi.servers.plain import PlainServer
from resilient_wsgi.settings.options import Readiness
from resilient_wsgi.shm import instance
from tests.scoreboards import in_memory, of_this_process

DJANGO = """
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["resilient_wsgi.django"],
    DATABASES={}, RESILIENT_WSGI=%s,
)
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("served"))]
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
SERVERS = {
    "uwsgi, hooks, lazy": {
        "shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready",
        "lazy-apps": True,
    },
    "uwsgi, hooks": {
        "shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready",
    },
    "uwsgi, prefork": {},
    "gunicorn": None,
}  # fmt: skip


def serve(folder, server="uwsgi, hooks, lazy", django="{}", **env):
    (folder / "project.py").write_text(DJANGO % django)
    options = SERVERS[server]
    try:
        if options is None:
            return Gunicorn(
                "project:application", ["--workers=2"], env={"PYTHONPATH": str(folder), **env}
            )
        base = {
            "module": "project",
            "master": True,
            "enable-threads": True,
            "pythonpath": str(folder),
            "processes": 2,
        }
        return Server({**base, **options}, env=env)
    except ToolMissing as missing:
        pytest.skip(str(missing))


def answers(server):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=5) as answer:
            return answer.read() == b"served"
    except OSError:
        return False


@pytest.mark.servers
@pytest.mark.parametrize("server", ["uwsgi, hooks, lazy", "uwsgi, prefork", "gunicorn"])
@pytest.mark.parametrize(
    ("env", "django", "said"),
    [
        ({"RESILIENT_WSGI_OUTBOND": "off"}, "{}", "did you mean 'RESILIENT_WSGI_OUTBOUND'?"),
        ({"RESILIENT_WSGI": "of"}, "{}", "did you mean 'off'?"),
        ({}, "{'OUTBOND': 'off'}", "section 'OUTBOND' is not known; did you mean 'OUTBOUND'?"),
    ],
    ids=["variable", "switch", "Django"],
)
def test_a_mistake_in_the_environment_or_django_s_settings_is_logged_and_the_service_serves(
    server, env, django, said, tmp_path
):
    with serve(tmp_path, server, django, **env) as running:
        assert wait_until(lambda: answers(running), 15)
        running.wait_for_log("ignored, and the default is used: ")
        assert said in running.log()
        assert "has no app" not in running.log()
        if server != "uwsgi, hooks, lazy" or django != "{}":
            return
        # said by the master, and by no worker again
        assert running.log().count("ignored, and the default is used: ") == 1


def test_an_app_is_wrapped_whatever_the_environment_says(monkeypatch, caplog):
    monkeypatch.setenv("RESILIENT_WSGI_OUTBOND", "off")
    resilient_wsgi.wrap(lambda environ, start_response: [])
    assert (
        "ignored, and the default is used: RESILIENT_WSGI_OUTBOND in the environment is not known"
        in caplog.text
    )


def test_a_mistake_in_the_environment_is_logged_once_and_ends_no_install(monkeypatch, caplog):
    monkeypatch.setenv("RESILIENT_WSGI", "of")
    installed = resilient_wsgi.install({"REQUEST": {"TIMEOUT": 7}})
    try:
        resilient_wsgi.install({"STDERR": "off"})
        assert installed.settings.outbound.mode == "enforce"
    finally:
        installed.uninstall()
    assert caplog.text.count("ignored, and the default is used: RESILIENT_WSGI='of'") == 1


@pytest.mark.servers
@pytest.mark.parametrize("server", ["uwsgi, hooks", "uwsgi, hooks, lazy"])
@pytest.mark.parametrize(
    "off",
    [
        (
            {"RESILIENT_WSGI": "off"},
            "{}",
            "readiness is off: RESILIENT_WSGI=off in the environment",
        ),
        (
            {"RESILIENT_WSGI_READINESS": "off"},
            "{}",
            "readiness is off: RESILIENT_WSGI_READINESS=off in the environment",
        ),
        ({}, "{'READINESS': 'off'}", ""),
    ],
    ids=["whole", "section", "Django"],
)
def test_a_probe_of_an_instance_whose_readiness_is_off_ends_no_pod(server, off, tmp_path, capsys):
    env, django, why = off
    with serve(tmp_path, server, django, **env) as running:
        assert wait_until(lambda: answers(running) and len(running.workers()) == 2, 15)
        pid = str(running.pid)
        assert wait_until(lambda: main(["ready", "--workers=2", pid]) == 0, 10), (
            capsys.readouterr().out
        )
        said = capsys.readouterr().out
        assert main(["ready", "--live", pid]) == 0
        assert main(["ready", pid, "--workers=3"]) == 1
        capsys.readouterr()
        assert main(["drain", pid]) == 2
        assert f"readiness is off in the instance of process {pid}: " in capsys.readouterr().err
        assert answers(running)
    assert why in said


def test_what_a_worker_starts_is_not_counted_as_a_worker(monkeypatch, capsys):
    with of_this_process(1):
        installation._tell_probes("why")
        monkeypatch.setattr(ready.target, "family", lambda pid: [pid, 2, 3])
        monkeypatch.setattr(ready.procfs, "children", lambda _pid: [2])
        assert main(["ready", str(os.getpid())]) == 0
        assert main(["ready", str(os.getpid()), "--workers=2"]) == 1
        assert "2" in capsys.readouterr().out
        installation._tell_probes("")


def test_the_scoreboard_says_why_readiness_is_off_until_it_is_on(capsys):
    with of_this_process(1):
        for why in ("RESILIENT_WSGI=off", "another reason"):
            installation._tell_probes(why)
            assert main(["ready", str(os.getpid())]) == 0
            assert f"(readiness is off: {why})" in capsys.readouterr().out
        installation._tell_probes("")
        assert main(["ready", str(os.getpid())]) == 1


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "Permission denied; run this as the user of the instance, or as root"),
        (errno.ENOENT, "No such file or directory; is the instance running?"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_to_do_about_a_pidfile_is_what_helps(number, hint, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(target.os, "open", refuse)
    with pytest.raises(target.CannotLook) as caught:
        target.read_pidfile("/run/uwsgi.pid")
    assert str(caught.value) == f"pidfile /run/uwsgi.pid: {hint}"


def test_a_worker_of_a_drained_instance_is_not_said_to_be_what_its_predecessor_was():
    row = in_memory(1).worker(1)
    row.pid, row.state, row.spawns = 1, DRAINED, 2
    row.problem = "draining: on its way out"
    assert ready.worker(1, row, alive=True)["why"] == "draining: serves nothing"


@pytest.mark.servers
def test_under_gunicorn_the_commands_say_what_works_there_and_no_control_socket_is_a_listen_queue(
    tmp_path, capsys
):
    with serve(tmp_path, "gunicorn") as running:
        assert wait_until(lambda: answers(running), 15)
        pid = str(running.pid)
        assert main(["drain", pid]) == 2
        assert "under gunicorn SIGTERM drains" in capsys.readouterr().err
        assert main(["ready", pid]) == 2
        assert "under gunicorn ask /-/ready over HTTP" in capsys.readouterr().err
        assert main(["status", "--json", pid]) == 0
        queues = json.loads(capsys.readouterr().out)
        assert main(["status", pid]) == 0
        shown = [line for line in capsys.readouterr().out.splitlines() if "gunicorn.ctl" in line]
    assert [queue["name"] for queue in queues["listen_queues"]] == [f"127.0.0.1:{running.port}"]
    # gunicorn 25 and later has one
    assert len(shown) == len(queues["masters_own"])
    assert all(line.endswith("the master's own: no requests come by it") for line in shown)


@pytest.mark.servers
def test_why_nobody_answers_for_stacks_is_said_where_it_is_known(tmp_path, capsys):
    (tmp_path / "bare.py").write_text("def application(environ, start_response): return []")
    options = {
        "module": "bare",
        "pythonpath": str(tmp_path),
        "master": True,
        **SERVERS["uwsgi, hooks"],
    }

    def said(verb, server, code):
        assert wait_until(lambda: main([verb, str(server.pid)]) == code, 10)
        return capsys.readouterr().err.splitlines()[-1]

    with Server(options, env={}) as running:
        assert wait_until(lambda: main(["ready", str(running.pid)]) == 0, 10)
        assert "no app is wrapped there (INSTALLED_APPS under Django, or wrap())" in said(
            "stacks", running, 2
        )
        assert "no outbound call was given up" in said("report", running, 1)
    with Server(options, env={"RESILIENT_WSGI": "off"}) as running:
        assert "resilient_wsgi is off there: RESILIENT_WSGI=off in the environment" in said(
            "stacks", running, 2
        )
    instance.directory()  # of this process, which is none of that instance
    with Server({**options, "shared-import": [], "hook-accepting": []}, env={}) as running:
        assert "has it served a request?" in said("stacks", running, 2)
        assert "nothing of resilient_wsgi is seen in process" in said("report", running, 2)
    with Server(options, env={"RESILIENT_WSGI_READINESS_DRAIN_DELAY": "0.1"}) as running:
        assert wait_until(lambda: main(["ready", str(running.pid)]) == 0, 10)
        assert main(["drain", "--timeout=20", str(running.pid)]) == 0
        assert main(["ready", str(running.pid)]) == 1
        assert "drained: draining: serves nothing" in capsys.readouterr().out
        assert "the instance is drained" in said("stacks", running, 2)


@pytest.mark.servers
def test_an_app_that_no_variable_names_is_asked_for_by_that_variable(tmp_path):
    options = {
        "module": "resilient_wsgi.uwsgi:application",
        "master": True,
        **SERVERS["uwsgi, hooks, lazy"],
    }
    env = {"RESILIENT_WSGI_READINESS_FIRST_PAUSE": "30"}
    with Server(options, env=env) as running:
        running.wait_for_log(
            r"worker 1 has no app \(set RESILIENT_WSGI_APPLICATION=module:attribute: "
            r"it names the app"
        )
        assert "did you mean" not in running.log()


def test_a_worker_whose_tries_are_used_up_does_not_promise_another_one():
    board = in_memory(2)
    policy = LoadPolicy(board, Readiness(attempts=3))
    mine, other = board.workers
    mine.spawns, other.spawns, other.failures = 1, 1, 2
    assert [policy.next_try(mine, failures) for failures in (1, 2, 3)] == [PAUSED, PAUSED, WAITS]
    other.failures = 3
    assert policy.next_try(mine, 3) == LAST
    other.failures, board.header.ever_served = 2, 1
    assert policy.next_try(mine, 3) == PAUSED


def test_no_startup_line_is_logged_in_a_process_of_no_server(caplog, capsys):
    servers.use(PlainServer())
    try:
        installed = resilient_wsgi.install({"STDERR": "off"})
        with caplog.at_level("INFO"):
            resilient_wsgi.wrap(lambda environ, start_response: [])(
                {"PATH_INFO": "/"}, lambda *_: None
            )
            startup.Startup().log()
        installed.uninstall()
    finally:
        servers.use(None)
    assert "; requests: " not in caplog.text + capsys.readouterr().err


def test_a_long_reason_is_shortened_outside_of_brackets():
    def status(why):
        return installation.ComponentStatus(
            "stderr", on=False, mode="enforce", means=(), why_not=why
        )

    assert status("not here (a test)").in_short() == "stderr off (not here (a test))"
    servers_ = "another server than uWSGI, gunicorn, " * 5
    inside = f"no process of a server: its output blocks (for {servers_})"
    assert status(inside).in_short() == "stderr off (no process of a server: its output blocks)"
    assert status("because " * 40).in_short().endswith(" because [...])")


def test_the_command_report_needs_no_ssl():
    code = "import resilient_wsgi.cli.report, sys; sys.exit('ssl' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
