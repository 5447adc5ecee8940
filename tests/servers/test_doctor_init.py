"""The uwsgi.ini that `resilient-wsgi init` writes starts a real uWSGI that serves the app."""

from __future__ import annotations

import subprocess

from lab.processes.base import find_tool, free_port, wait_until
from resilient_wsgi.cli import main

APP = """
import resilient_wsgi

resilient_wsgi.install()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]


application = resilient_wsgi.wrap(application)
"""


def test_what_init_writes_serves(tmp_path, get, monkeypatch):
    (tmp_path / "web.py").write_text(APP)
    (tmp_path / "Dockerfile").write_text("FROM python\n")
    assert main(["init", str(tmp_path)]) == 0
    port = free_port()
    ini = tmp_path / "uwsgi.ini"
    text = ini.read_text()
    text = text.replace("0.0.0.0:8000", f"127.0.0.1:{port}")
    ini.write_text(text.replace("/tmp/uwsgi.pid", str(tmp_path / "uwsgi.pid")))
    log = tmp_path / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [find_tool("uwsgi"), "--ini", str(ini)], stdout=out, stderr=subprocess.STDOUT, cwd="/"
        )
    try:
        assert wait_until(lambda: answered(get, port), 20), log.read_text()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def answered(get, port):
    try:
        return get(port) == b"served"
    except OSError:
        return False
