"""The doctor in a process of its own: its answer, its end, and that nothing of it stays."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from resilient_wsgi.doctor import apart, running
from tests.unit.doctor.test_running import BAD, GOOD, VERSIONS


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return file.read().split()


def test_the_line_is_that_of_this_process(tmp_path):
    options = {**BAD, "ini": str(tmp_path / "ä.ini"), "env": "Ü=1\nsecret"}
    expected = running.line(running.findings(options, VERSIONS), options["ini"])
    assert expected.startswith("[RW007]")
    assert apart.line(options, VERSIONS) == expected
    assert apart.line(GOOD, VERSIONS) == ""
    assert children() == []


def test_the_asking_process_imports_nothing_of_the_rules():
    code = (
        "import sys; from resilient_wsgi.doctor import apart; "
        f"assert apart.line({BAD!r}, {VERSIONS!r}); "
        "print(*(name for name in sys.modules if 'wsgi.doctor' in name or name == 'subprocess'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["resilient_wsgi.doctor", "resilient_wsgi.doctor.apart"]


def program(tmp_path, monkeypatch, text):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(path))


def test_one_that_does_not_answer_is_ended(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "exec sleep 60")
    begin = time.monotonic()
    assert apart.line(BAD, VERSIONS, 0.2) == ""
    assert time.monotonic() - begin < 10
    assert children() == []


def test_one_that_fails_says_nothing(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "exit 3")
    assert apart.line(BAD, VERSIONS) == ""
    assert children() == []


def test_it_has_no_socket_of_the_server_and_no_option_among_its_arguments(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, 'ls -l /proc/$$/fd | grep -c socket: ; printf %s "$*"')
    with socket.socket() as listening:
        listening.listen()
        listening.set_inheritable(True)
        sockets, arguments = apart.line({**BAD, "http": "password"}, VERSIONS).split("\n", 1)
    assert sockets == "0"
    assert "password" not in arguments


@pytest.mark.parametrize("executable", ["/usr/bin/uwsgi", "", None, "/nowhere/python3"])
def test_the_interpreter_is_found_where_sys_executable_is_not_it(executable, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)
    found = apart.interpreter()
    assert found is not None
    assert os.path.basename(found) == "python{}.{}".format(*sys.version_info)


def test_without_an_interpreter_nothing_is_said(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, name, "/nowhere")
    assert apart.line(BAD, VERSIONS) == ""


def test_nothing_is_said_where_no_process_can_be_started(monkeypatch):
    def refused(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "posix_spawn", refused)
    before = len(os.listdir("/proc/self/fd"))
    assert apart.line(BAD, VERSIONS) == ""
    assert len(os.listdir("/proc/self/fd")) == before
