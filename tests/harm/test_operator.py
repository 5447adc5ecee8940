"""What operators do wrong, and what they are told: a mistake never stops a service that would run without the library."""

from __future__ import annotations

import urllib.request

import pytest

import resilient_wsgi
from lab.processes import Gunicorn, Server, ToolMissing, wait_until

DJANGO = """
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], INSTALLED_APPS=["resilient_wsgi.django"],
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
        "shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready", "lazy-apps": True,
    },
    "uwsgi, prefork": {},
    "gunicorn": None,
}  # fmt: skip


def serve(folder, server="uwsgi, hooks, lazy", django="{}", **env):
    (folder / "project.py").write_text(DJANGO % django)
    options = SERVERS[server]
    try:
        if options is None:
            return Gunicorn("project:application", ["--workers=2"], env={"PYTHONPATH": str(folder), **env})
        base = {"module": "project", "master": True, "enable-threads": True, "pythonpath": str(folder), "processes": 2}
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
@pytest.mark.parametrize("server", SERVERS)
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
    assert "ignored, and the default is used: RESILIENT_WSGI_OUTBOND in the environment is not known" in caplog.text


def test_a_mistake_in_the_environment_is_logged_once_and_ends_no_install(monkeypatch, caplog):
    monkeypatch.setenv("RESILIENT_WSGI", "of")
    installed = resilient_wsgi.install({"REQUEST": {"TIMEOUT": 7}})
    try:
        resilient_wsgi.install({"STDERR": "off"})
        assert installed.settings.outbound.mode == "enforce"
    finally:
        installed.uninstall()
    assert caplog.text.count("ignored, and the default is used: RESILIENT_WSGI='of'") == 1
