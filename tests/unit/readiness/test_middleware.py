"""`/-/live` and `/-/ready`, answered without the app."""

from __future__ import annotations

import json
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from resilient_wsgi.readiness import ReadinessMiddleware
from resilient_wsgi.readiness.checks import status
from resilient_wsgi.settings.options import Readiness


def app(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the app"]


@pytest.fixture
def report(monkeypatch):
    lines = [("app", ""), ("cache", "")]
    monkeypatch.setattr(status, "report", lambda: lines)
    return lines


def ask(path, method="GET", *, options=None, paths=("/-/live", "/-/ready"), **environ):
    said = {}
    environ = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "REQUEST_METHOD": method,
        "REMOTE_ADDR": "127.0.0.1",
        "QUERY_STRING": "",
        **environ,
    }
    setup_testing_defaults(environ)

    def start_response(line, headers, exc_info=None):
        said.update(line=line, headers=dict(headers))

    result = validator(ReadinessMiddleware(app, paths, options))(environ, start_response)
    body = b"".join(result)
    result.close()
    return said["line"].split()[0], body


def test_it_is_live_whenever_it_answers(report):
    report[0] = ("app", "not loaded")
    assert ask("/-/live") == ("200", b'{"status": "live"}')


@pytest.mark.parametrize(
    ("problem", "line", "word"), [("", "200", "ready"), ("cold", "503", "not ready")]
)
def test_it_is_ready_when_everything_is(report, problem, line, word):
    report[1] = ("cache", problem)
    status_line, body = ask(
        "/-/ready", options=Readiness(token="secret"), HTTP_X_READINESS_TOKEN="secret"
    )
    assert (status_line, json.loads(body)["status"]) == (line, word)
    assert json.loads(body)["checks"] == {"app": "ok", "cache": problem or "ok"}


def test_head_has_no_body_and_post_is_refused(report):
    assert ask("/-/ready", "HEAD") == ("200", b"")
    assert ask("/-/ready", "POST")[0] == "405"


@pytest.mark.parametrize("path", ["/", "/-/ready/", "/-/readyz", "/x/-/live"])
def test_every_other_path_is_the_apps(report, path):
    assert ask(path) == ("200", b"the app")


@pytest.mark.parametrize(
    ("environ", "token", "seen"),
    [
        ({}, "", False),
        ({"REMOTE_ADDR": "::1"}, "", False),
        ({"REMOTE_ADDR": ""}, "", False),
        ({"HTTP_X_READINESS_TOKEN": ""}, "", False),
        ({"HTTP_X_READINESS_TOKEN": "\xff"}, "secret", False),
        ({}, "secret", False),
        ({"HTTP_X_READINESS_TOKEN": "wrong"}, "secret", False),
        ({"REMOTE_ADDR": "203.0.113.7", "HTTP_X_READINESS_TOKEN": "secret"}, "secret", True),
    ],
)
def test_details_are_for_who_has_the_token_wherever_the_request_comes_from(
    report, environ, token, seen
):
    _, body = ask("/-/ready", options=Readiness(token=token), **environ)
    assert ("checks" in json.loads(body)) is seen


def test_a_report_that_cannot_be_made_is_not_ready(monkeypatch):
    def broken():
        raise RuntimeError("of our own making")

    monkeypatch.setattr(status, "report", broken)
    assert ask("/-/ready")[0] == "503"


def test_paths_can_be_others_or_none(report):
    assert ask("/healthz", paths=("/healthz", None))[0] == "200"
    assert ask("/-/ready", paths=("/healthz", None)) == ("200", b"the app")
