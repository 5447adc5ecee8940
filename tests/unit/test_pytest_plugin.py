"""The fixtures, as the tests of an app find them: by the entry point, in a run of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
CONFTEST = """
import http.client

http.client.at_first = http.client.HTTPConnection.connect

import resilient_wsgi

resilient_wsgi.install()
"""
TESTS = """
import http.client
import os
import socket

from resilient_wsgi import events


def test_events(resilient_wsgi_events):
    events.emit(events.LinesDropped(2, 3, 40, 1.5))
    assert [type(each).__name__ for each in resilient_wsgi_events] == ["LinesDropped"]


def test_hung_server(resilient_wsgi_hung_server):
    with socket.create_connection(resilient_wsgi_hung_server) as connection:
        connection.settimeout(0.1)
        try:
            connection.recv(1)
        except socket.timeout:
            return
    raise AssertionError


def test_stalled_pipe(resilient_wsgi_stalled_pipe):
    os.set_blocking(resilient_wsgi_stalled_pipe, False)
    try:
        os.write(resilient_wsgi_stalled_pipe, b"x")
    except BlockingIOError:
        return
    raise AssertionError


def test_off(resilient_wsgi_off):
    assert http.client.HTTPConnection.connect is http.client.at_first


def test_and_on_again():
    assert http.client.HTTPConnection.connect is not http.client.at_first
"""


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *more],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("name", ["fixtures", "page"])
def test_the_fixtures_are_found_and_do_what_they_say(name, tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    example = re.search(
        r"```python title=\"test_prices.py\"\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert example
    (tmp_path / "test_it.py").write_text(TESTS if name == "fixtures" else example[1])
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{5 if name == 'fixtures' else 1} passed" in done.stdout


def test_every_fixture_is_on_the_page(tmp_path):
    found = set(
        re.findall(r"^(resilient_wsgi_\w+)", run(tmp_path, "--fixtures").stdout, re.MULTILINE)
    )
    assert found
    assert found == set(re.findall(r"^\| `(resilient_wsgi_\w+)`", PAGE.read_text(), re.MULTILINE))
