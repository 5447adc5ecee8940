"""The pages of "Getting started", pasted: what they show is what a reader gets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator

import pytest

from lab.processes import Program
from lab.processes.base import find_tool, free_port, wait_until
from resilient_wsgi.testing import hung_server

pytestmark = pytest.mark.servers
DOCS = Path(__file__).parents[2] / "docs"
# that each page has the reader wait for 15 s is not what is tested here
SOON = {"RESILIENT_WSGI_OUTBOUND_READ_TIMEOUT": "2"}
READY = r"\[RW001\] resilient_wsgi"


def files(page: str) -> Dict[str, str]:
    """Return the blocks of a page by their title."""
    text = (DOCS / page).read_text()
    return dict(
        re.findall(r"^```\w+ title=\"([^\"]+)\"\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    )


def paste(folder: Path, blocks: Dict[str, str], *names: str, **replaced: object) -> None:
    """Write blocks of a page into files; `append` in a title is what it says."""
    for name in names:
        text = blocks[name]
        for old, new in replaced.items():
            assert isinstance(new, int)
            text = text.replace(f"127.0.0.1:{old.strip('_')}", f"127.0.0.1:{new}")
        path = folder / name.partition(" ")[0]
        path.parent.mkdir(exist_ok=True)
        before = path.read_text() if "(append)" in name else ""
        path.write_text(before + text)


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


@contextmanager
def asked(url: str) -> Iterator[list[str]]:
    """Ask in the background; yield the list that has the answer at the end of the block."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(get(url)), daemon=True)
    thread.start()
    yield answers
    thread.join(30)


def status(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "resilient_wsgi", "status", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(DOCS.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stdout + done.stderr


def check(server: Program, base: str, folder: Path, *target: str) -> None:
    """See what the pages say that one sees: the app, the startup line, the hung call."""
    assert wait_until(lambda: get(f"{base}/") == "200 ok", 20)
    with asked(f"{base}/prices") as answers:
        assert wait_until(lambda: "/prices" in status(*target, cwd=folder), 10), server.log()
    assert answers == ["503 no prices right now"], server.log()
    assert re.search(
        r"\[RW101\] gave up on GET 127\.0\.0\.1:\d+/ after .*caller .*:\d+ in prices", server.log()
    )


def test_django_on_uwsgi(tmp_path):
    blocks = files("start/django-uwsgi.md")
    startproject = blocks["in an empty folder"].splitlines()[-1].split("/")[-1].split()
    subprocess.run(
        [find_tool(startproject[0]), *startproject[1:]], cwd=tmp_path, check=True, timeout=60
    )
    with hung_server() as (_, hung):
        port = free_port()
        names = ("mysite/settings.py (append)", "mysite/urls.py", "uwsgi.ini")
        paste(tmp_path, blocks, *names, _8000=port, _8001=hung)
        command = ["uwsgi", "--ini", "uwsgi.ini"]
        with Program(command, ready=READY, cwd=tmp_path, env=SOON) as server:
            assert "requests: deadline 28.5 s (harakiri 30 s)" in server.log()
            # no warning of ours about our own example
            assert set(re.findall(r"\[RW\d+\]", server.log())) <= {"[RW001]", "[RW402]"}
            check(server, f"http://127.0.0.1:{port}", tmp_path, "--pidfile", "uwsgi.pid")


def test_flask_on_gunicorn(tmp_path):
    blocks = files("start/flask-gunicorn.md")
    with hung_server() as (_, hung):
        port = free_port()
        paste(tmp_path, blocks, "app.py", "gunicorn.conf.py", _8000=port, _8001=hung)
        command = blocks["terminal 1"].split("/", 2)[-1].split()
        with Program(command, ready=READY, cwd=tmp_path, env=SOON) as server:
            assert "requests: deadline 30 s (REQUEST.TIMEOUT)" in server.log()
            check(server, f"http://127.0.0.1:{port}", tmp_path, str(server.pid))


@pytest.mark.parametrize(
    ("page", "title"),
    [("start/systemd.md", "/srv/mysite/uwsgi.ini"), ("start/container.md", "uwsgi.ini")],
)
def test_the_other_uwsgi_ini_serve_an_app(page, title, tmp_path):
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "wsgi.py").write_text(
        "import resilient_wsgi\n"
        "resilient_wsgi.install()\n"
        "@resilient_wsgi.wrap\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'ok']\n"
    )
    port = free_port()
    text = files(page)[title]
    text = re.sub(
        r"^socket = (/.*|0\.0\.0\.0:8000)$", f"socket = 127.0.0.1:{port}", text, flags=re.MULTILINE
    )
    text = re.sub(r"^(virtualenv|chmod-socket) = .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^pidfile = .*$", "pidfile = uwsgi.pid", text, flags=re.MULTILINE)
    (tmp_path / "uwsgi.ini").write_text(text + ("" if "protocol" in text else "protocol = http\n"))
    with Program(["uwsgi", "--ini", "uwsgi.ini"], ready=READY, cwd=tmp_path) as server:
        assert get(f"http://127.0.0.1:{port}/") == "200 ok"
        assert "requests: deadline 28.5 s" in server.log()
        assert server.stop() < 10
