"""The installed uWSGI is asked for its version and options; nothing that is looked at is run."""

from __future__ import annotations

import sys

import pytest

from resilient_wsgi.doctor import uwsgi_binary
from resilient_wsgi.doctor.machine import ThisMachine

FAKE = """#!/bin/sh
echo "$0 $@ UWSGI_X=$UWSGI_X" >> {log}
case $1 in --version) echo 2.1.7;; *) printf ' -s|--socket   x\\n    --brand-new   y\\n';; esac
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a uwsgi on PATH, with none in the environment of this Python; return its log."""
    log = tmp_path / "log"
    program = tmp_path / "bin" / "uwsgi"
    program.parent.mkdir()
    program.write_text(FAKE.format(log=log))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("UWSGI_X", "1")
    return log


def test_version_and_options_are_asked_without_the_environment(fake):
    machine = ThisMachine()
    assert not fake.exists()
    assert machine.version("uwsgi") == (2, 1, 7)
    assert machine.uwsgi_options() == {"socket", "brand-new"}
    assert machine.uwsgi_options() is machine.uwsgi_options()
    asked = fake.read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in asked] == ["--version UWSGI_X=", "--help UWSGI_X="]


def test_a_uwsgi_in_the_working_directory_is_not_run(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "bin")
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    monkeypatch.setenv("PATH", ".")
    assert uwsgi_binary.version() is None
    assert uwsgi_binary.options() == frozenset()
    assert not fake.exists()


def test_one_that_cannot_be_run_is_none(fake, tmp_path):
    (tmp_path / "bin" / "uwsgi").write_bytes(b"\x7fELF")
    assert uwsgi_binary.version() is None
