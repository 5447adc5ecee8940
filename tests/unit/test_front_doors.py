"""The front doors: importing, install(), the Django app, the command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_wsgi
from resilient_wsgi import backlog, cli, installation
from resilient_wsgi.events import BacklogSmall
from resilient_wsgi.host.sockets import Listener, somaxconn

ROOT = Path(__file__).parents[2]

NAMES = [
    "stderr", "threads", "outbound", "drivers", "overload", "readiness", "request", "bulkhead",
    "backlog",
]  # fmt: skip


def python(code, *, cwd=ROOT, **environ):
    """Run code in a fresh interpreter; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def installed():
    with_settings = []

    def install(settings=None):
        with_settings.append(resilient_wsgi.install(settings))
        return with_settings[-1]

    yield install
    for installation_ in with_settings:
        installation_.uninstall()


def test_importing_imports_neither_django_nor_any_http_client():
    code = (
        "import sys; before = set(sys.modules); import resilient_wsgi; "
        "print(sorted({n.partition('.')[0] for n in set(sys.modules) - before}"
        " & {'django', 'requests', 'urllib3', 'httpx', 'http', 'uwsgi'}))"
    )
    assert python(code) == "[]"


def test_installing_imports_nothing_that_gevent_has_to_patch_first():
    code = (
        "import sys, resilient_wsgi; resilient_wsgi.install()\n"
        "print(sorted({'asyncio', 'concurrent.futures', 'http.client', 'ssl', 'wrapt'} & "
        "set(sys.modules)))"
    )
    assert python(code) == "[]"


def test_the_public_names_are_sorted_and_there():
    assert resilient_wsgi.__all__ == sorted(resilient_wsgi.__all__)
    for name in resilient_wsgi.__all__:
        assert getattr(resilient_wsgi, name).__doc__


def test_install_says_of_each_component_what_was_done(installed):
    status = {s.name: s for s in installed().status()}
    assert list(status) == NAMES
    for component in status.values():
        assert component.means if component.on else component.why_not


def test_install_is_one_installation_that_a_later_call_reconfigures(installed):
    first = installed({"REQUEST": {"TIMEOUT": 5}})
    assert installed({"REQUEST": {"TIMEOUT": 7}}) is first
    assert first.settings.request.timeout == 7
    installed()
    assert first.settings.request.timeout == 7


def test_settings_with_mistakes_change_nothing(installed):
    first = installed({"REQUEST": {"TIMEOUT": 5}})
    with pytest.raises(resilient_wsgi.ConfigurationError):
        resilient_wsgi.install({"REQUEST": {"TIMEOUT": -5}})
    assert first.settings.request.timeout == 5


def test_a_component_that_is_off_is_not_on_and_says_why(installed):
    status = {s.name: s for s in installed({"OUTBOUND": "off"}).status()}
    assert (status["outbound"].on, status["outbound"].why_not) == (False, "OUTBOUND.MODE is off")


def test_a_component_that_fails_to_install_does_not_keep_the_app_from_starting(
    installed, monkeypatch, caplog
):
    monkeypatch.setattr(backlog.Backlog, "install", lambda self, options: 1 / 0)
    status = {s.name: s for s in installed().status()}
    assert status["backlog"].why_not == "ZeroDivisionError: division by zero"
    assert "backlog could not be installed" in caplog.text


def test_off_switches_everything_off_for_a_block(installed):
    first = installed({"REQUEST": {"TIMEOUT": 5}})
    seen = []
    app = resilient_wsgi.wrap(lambda e, s: seen.append(resilient_wsgi.deadline.remaining()) or [])
    with resilient_wsgi.off():
        app({}, None)
        assert installation.current() is None
    app({"REQUEST_METHOD": "GET"}, None)
    assert installation.current() is first
    assert seen[0] is None
    assert seen[1] > 0


def test_a_short_listen_queue_is_told_with_the_numbers_and_what_to_set():
    (event,) = backlog.check(
        [Listener("127.0.0.1:80", 0, 128)], asked=2048, allowed=128, minimum=1024
    )
    assert isinstance(event, BacklogSmall)
    text = str(event)
    assert (
        "listen queue of 127.0.0.1:80: asked 2048, effective 128 (net.core.somaxconn here: 128)"
        in text
    )
    assert "set net.core.somaxconn = 2048" in text
    assert "set listen = 2048" in text


def test_a_listen_queue_that_is_long_enough_is_not_warned_about():
    assert (
        list(backlog.check([Listener("x", 0, 1024)], asked=1024, allowed=4096, minimum=1024)) == []
    )


SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["resilient_wsgi.django"]
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
RESILIENT_WSGI = %s
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
from resilient_wsgi import deadline
urlpatterns = [path("", lambda request: HttpResponse(str(deadline.remaining())))]
"""


@pytest.fixture
def project(tmp_path):
    def make(resilient):
        (tmp_path / "settings.py").write_text(SETTINGS % resilient)
        (tmp_path / "urls.py").write_text(URLS)
        return tmp_path

    return make


def manage(project, *arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments, "--settings=settings"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{project}", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_django_app_lists_every_mistake_as_a_system_check_error(project):
    done = manage(project('{"OUTBOUND": {"TOTAL_TIMOUT": 1}, "THREADS": {"GRACE": -1}}'), "check")
    assert done.returncode == 1
    assert done.stderr.count("(resilient_wsgi.E001)") == 2
    assert "did you mean 'TOTAL_TIMEOUT'?" in done.stderr
    assert "HINT" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"), [("RESILIENT_WSGI", "of"), ("RESILIENT_WSGI_OUTBOND", "off")]
)
def test_a_mistake_in_the_environment_ends_no_management_command(project, variable, value):
    made = project('{"BACKLOG": "off"}')
    done = manage(made, "check", **{variable: value})
    assert done.returncode == 0
    assert done.stderr.count("(resilient_wsgi.W003)") == 1
    assert "Correct or unset that variable" in done.stderr
    done = manage(made, "resilient_status", **{variable: value})
    assert (done.returncode, "outbound: on" in done.stdout) == (0, True), done.stderr


def test_a_mistake_in_django_s_settings_does_not_spoil_an_install_of_the_app(installed, caplog):
    installation.install_for_django({"REQUEST": {"TIMOUT": 5, "TIMEOUT": 6}})
    assert installed({"REQUEST": {"SLOW_AFTER": 3}}).settings.request.timeout == 6
    assert (
        caplog.text.count(
            "ignored, and the default is used: settings.RESILIENT_WSGI: option 'TIMOUT'"
        )
        == 1
    )


def test_the_django_app_warns_of_a_host_whose_listen_queues_are_too_short(project):
    wanted = somaxconn() + 1
    done = manage(project(f'{{"BACKLOG": {{"MINIMUM": {wanted}}}}}'), "check")
    assert "(resilient_wsgi.W001)" in done.stderr
    assert f"set net.core.somaxconn = {wanted}" in done.stderr


def test_a_project_that_is_all_right_has_no_warnings(project):
    done = manage(project('{"BACKLOG": {"MINIMUM": 1}}'), "check")
    assert "no issues" in done.stdout, done.stderr


def test_a_deployment_check_has_the_doctor_s_findings_of_settings_and_servers(project):
    made = project('{"BACKLOG": {"MINIMUM": 1}}')
    (made / "uwsgi.ini").write_text("[uwsgi]\nprocesses = 4\ncheaper = 4\n")
    with (made / "settings.py").open("a") as file:
        file.write('EMAIL_HOST = "smtp.example"\n')
    done = manage(made, "check", "--deploy", "--tag=resilient_wsgi")
    assert done.returncode == 1
    assert "(resilient_wsgi.U47) uwsgi.ini:3: cheaper = 4, processes = 4" in done.stderr
    assert "?: (resilient_wsgi.D01) EMAIL_TIMEOUT is None" in done.stderr
    assert "HINT: Set EMAIL_TIMEOUT = 10." in done.stderr
    assert "(resilient_wsgi.D17) REQUEST.TIMEOUT is not set" in done.stderr
    assert "no issues" in manage(made, "check").stdout


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        (
            "settings",
            0,
            "settings: warning D01: EMAIL_TIMEOUT is None, and mail goes to smtp.example",
        ),
        ("nothing", 2, "the settings nothing cannot be imported: ModuleNotFoundError"),
    ],
)
def test_the_doctor_looks_at_django_s_settings_if_it_is_told_to(project, name, code, says):
    made = project("{}")
    with (made / "settings.py").open("a") as file:
        file.write('EMAIL_HOST = "smtp.example"\n')
    done = subprocess.run(
        [sys.executable, "-m", "resilient_wsgi", "doctor", "--django", name],
        cwd=made,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done


def test_the_django_app_has_a_command_that_prints_the_status(project):
    done = manage(project("{}"), "resilient_status")
    own, *lines = done.stdout.splitlines()
    assert own.startswith("this is manage.py's own process")
    assert [line.partition(":")[0] for line in lines] == NAMES, done.stderr


def test_the_django_app_alone_puts_the_middleware_around_the_handler(project):
    code = """
import django
from django.core.wsgi import get_wsgi_application
from wsgiref.util import setup_testing_defaults
application = get_wsgi_application()
environ = {}
setup_testing_defaults(environ)
print(b"".join(application(environ, lambda *a: None)).decode())
"""
    answer = python(
        code,
        cwd=project("{}"),
        DJANGO_SETTINGS_MODULE="settings",
        RESILIENT_WSGI_REQUEST_TIMEOUT="60",
    )
    assert 50 < float(answer) <= 60


def test_status_shows_the_true_depth_of_each_listening_socket(capsys):
    with socket.create_server(("127.0.0.1", 0), backlog=5) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert cli.main(["status", str(os.getpid())]) == 0
            assert f"127.0.0.1:{port}" in capsys.readouterr().out
            cli.main(["status", str(os.getpid()), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {"name": f"127.0.0.1:{port}", "depth": 1, "limit": 5} in report["listen_queues"]
    assert report["processes"][0]["pid"] == os.getpid()


def test_status_ends_with_one_when_a_queue_is_full(capsys):
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listening:
        clients = [socket.create_connection(listening.getsockname()) for _ in range(2)]
        assert cli.main(["status", str(os.getpid())]) == 1
        for client in clients:
            client.close()
    assert "FULL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", "4194305"], "there is no process 4194305"),
        (["status", "--pidfile", "/nonexistent"], "No such file"),
        (["status", "--pidfile", __file__], "not a pid"),
    ],
)
def test_status_of_what_is_not_there_is_a_clear_error(arguments, says, capsys):
    assert cli.main(arguments) == 2
    assert says in capsys.readouterr().err


VIEWS = """
from django.http import HttpResponse
from django.urls import path
from django.views import View
from resilient_wsgi import deadline

def tell(request):
    return HttpResponse(str(deadline.remaining()))

def short(request):
    return tell(request)
short.resilient_wsgi_deadline = 5

def long(request):
    return tell(request)
long.resilient_wsgi_deadline = 500

class Report(View):
    resilient_wsgi_deadline = 7
    def get(self, request):
        return tell(request)

urlpatterns = [path("short", short), path("long", long), path("report", Report.as_view()), path("other", tell)]
"""


def test_a_view_s_attribute_shortens_the_deadline_of_its_requests(project):
    folder = project("{}")
    (folder / "urls.py").write_text(VIEWS)
    with open(folder / "settings.py", "a", encoding="utf-8") as file:
        file.write('MIDDLEWARE = ["resilient_wsgi.django.middleware.ViewDeadlineMiddleware"]\n')
    code = """
from django.core.wsgi import get_wsgi_application
from wsgiref.util import setup_testing_defaults
application = get_wsgi_application()
for path in ("/short", "/long", "/report", "/other"):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    print(b"".join(application(environ, lambda *a: None)).decode())
"""
    answers = python(
        code, cwd=folder, DJANGO_SETTINGS_MODULE="settings", RESILIENT_WSGI_REQUEST_TIMEOUT="60"
    )
    short, long, report, other = map(float, answers.splitlines())
    assert 4 < short <= 5
    assert 6 < report <= 7
    assert 50 < long <= 60
    assert 50 < other <= 60
