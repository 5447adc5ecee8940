"""What the doctor says of the syntax of uwsgi.ini is what a real uWSGI makes of it."""

from __future__ import annotations

import subprocess

import pytest

from lab.processes.base import find_tool
from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine

SECONDS = 1.5
LISTEN = "http-socket = 127.0.0.1:0\n"


def run(text, tmp_path):
    """Return exit code and output of uWSGI with this uwsgi.ini; code None if it had to be killed."""
    path = tmp_path / "uwsgi.ini"
    path.write_text(text)
    process = subprocess.Popen(
        [find_tool("uwsgi"), "--ini", "uwsgi.ini"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output = process.communicate(timeout=SECONDS)[0]
        return process.returncode, output.decode()
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0].decode()


def codes(text):
    return {each.code for each in examine(from_texts({"uwsgi.ini": text}))}


@pytest.mark.parametrize("head", ["[uwsgi] ; production", "\ufeff[uwsgi]"], ids=["comment", "mark"])
def test_a_section_that_is_not_seen_is_ignored(head, tmp_path):
    text = f"{head}\nmaster = true\n{LISTEN}"
    assert "U94" in codes(text)
    output = run(text, tmp_path)[1]
    assert 'Can\'t find section "uwsgi"' in output
    assert "without its master process manager" in output


def test_a_placeholder_of_itself_never_starts(tmp_path):
    text = f"[uwsgi]\npath = x%(path)\n{LISTEN}"
    assert "U95" in codes(text)
    code, output = run(text, tmp_path)
    assert code is None
    assert "Starting uWSGI" not in output
    assert "Starting uWSGI" in run(text.replace("%(path)", ""), tmp_path)[1]


def test_a_file_that_includes_itself_crashes(tmp_path):
    text = f"[uwsgi]\nini = uwsgi.ini\n{LISTEN}"
    assert "U96" in codes(text)
    assert run(text, tmp_path)[0] == -11


def test_a_percent_that_is_not_doubled_is_lost(tmp_path):
    text = f"[uwsgi]\nshow-config = true\nenv = X=5%q, p%40ss://\n{LISTEN}"
    assert "U97" in codes(text)
    assert "env = X=5, p" in run(text, tmp_path)[1]
    doubled = text.replace("%", "%%")
    assert "U97" not in codes(doubled)
    assert "env = X=5%q, p%40ss://" in run(doubled, tmp_path)[1]
