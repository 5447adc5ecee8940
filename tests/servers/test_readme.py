"""What README tells a new user to write works, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.processes import Server
from lab.processes.base import wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(heading, language):
    """Return the first code block of a language under a heading."""
    section = README.split(f"### {heading}\n", 1)[1]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


def test_the_whole_uwsgi_ini_starts_and_says_nothing_to_worry_about(get):
    lines = [
        line
        for line in block("A whole uwsgi.ini", "ini").splitlines()[1:]
        if line and not line.startswith(";")
    ]
    options = dict(line.split(" = ", 1) for line in lines)
    for ours in ("module", "virtualenv", "socket", "chmod-socket", "vacuum"):
        del options[ours]
    options.update({"module": "tests.servers.apps.plain_app", "pythonpath": str(ROOT)})
    with Server(options) as server:
        assert get(server.port).startswith(b"uwsgi")
        assert wait_until(lambda: server.log().count("HOOK ready") == int(options["processes"]), 30)
        log = server.log()
    assert "resilient_wsgi." not in log, "a warning of ours about our own example"


def test_the_lines_for_any_wsgi_app_work():
    names = {"application": lambda environ, start_response: [b"x"]}
    exec(block("Any WSGI app", "python"), names)
    names["resilient_wsgi"].install().uninstall()
    assert list(names["application"]({"REQUEST_METHOD": "GET"}, None)) == [b"x"]


def test_the_lines_for_flask_work():
    pytest.importorskip("flask", reason="Flask not found")
    names = {"__name__": "app"}
    exec(block("Flask", "python"), names)
    names["resilient_wsgi"].install().uninstall()
    names["app"].get("/")(lambda: "hello")
    assert names["app"].test_client().get("/").data == b"hello"
