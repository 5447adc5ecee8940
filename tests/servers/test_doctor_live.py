"""`resilient-wsgi doctor --pid` finds what is wrong with real instances, with this library or
without.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lab.processes import Gunicorn, Server, wait_until
from tests.servers.requests_common import HOOKS, get, running

pytestmark = pytest.mark.servers

PLAIN = """
import os, socket

def application(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        with socket.create_connection(("127.0.0.1", int(os.environ["SILENT"])), 60) as sock:
            sock.recv(1)
    if environ["PATH_INFO"] == "/write":
        os.write(2, b"x" * 70_000)
    start_response("200 OK", [])
    return [b"ok"]
"""


def doctor(pid, *more):
    """Return the findings about an instance by code, and what was not looked at."""
    command = [sys.executable, "-m", "resilient_wsgi", "doctor", "--pid", str(pid), *more]
    command.append("--json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return {each["code"]: each["message"] for each in json.loads(done.stdout)}


@pytest.fixture
def silent():
    """Return the environment that names the port of an upstream that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"SILENT": str(server.getsockname()[1])}


@pytest.fixture
def plain(tmp_path, silent):
    """Start an instance without this library."""
    (tmp_path / "plain.py").write_text(PLAIN)

    @contextmanager
    def start(options=(), **more):
        common = {"module": "plain", "pythonpath": str(tmp_path), "master": True, "listen": 4}
        with Server({**common, **dict(options)}, env=silent, **more) as server:
            yield server

    return start


def test_a_healthy_instance_has_no_error(plain):
    with plain({"processes": 2, "listen": 128}) as server:
        assert get(server, "/").good
        found = doctor(server.pid)
        assert {code for code in found if code[0] == "P"} == set()
        assert found["U44"].startswith("listen = 128")  # of its file


def test_workers_that_all_wait_for_one_upstream_and_the_queue_behind_them(plain):
    with plain({"processes": 2}) as server, ThreadPoolExecutor(10) as pool:
        for _ in range(10):
            pool.submit(get, server, "/hang", 4)
        assert wait_until(lambda: "P01" in doctor(server.pid, "--select=P"), 20)
        found = doctor(server.pid, "--select=P")
        assert "holds 5 of 4" in found["P01"]
        assert "2 of 2 threads wait for 127.0.0.1:" in found["P06"]
        server.stop(signal.SIGKILL)


def test_a_log_that_nobody_reads(plain):
    reading, writing = os.pipe()
    try:
        with plain({"processes": 1}, stderr=writing, ready_count=0) as server:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(get, server, "/write", 5)
                assert wait_until(lambda: "P02" in doctor(server.pid, "--select=P"), 15)
                assert "1 threads stand in a write to pipe" in doctor(server.pid)["P02"]
                os.read(reading, 1 << 20)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_stopped_master_a_changed_file_and_a_socket_that_is_gone(plain):
    with plain({"processes": 1}, listen_on="unix") as server:
        os.utime(server.directory / "uwsgi.ini", (time.time() + 60,) * 2)
        os.unlink(server.socket_path)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            found = doctor(server.pid, "--select=P")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert "is in state T" in found["P09"]
        assert "uwsgi.ini was last changed" in found["P10"]
        assert server.socket_path in found["P11"]


def test_what_the_scoreboard_adds():
    options = {**HOOKS, "processes": 1, "threads": 2, "harakiri": 1}
    with running(options, {"MODE": "report"}) as server, ThreadPoolExecutor(2) as pool:
        asked = pool.submit(get, server, "/sleep/7")

        def disarm():  # any request that ends disarms the harakiri of the others
            while not asked.done():
                get(server, "/hello")
                time.sleep(0.2)

        pool.submit(disarm)
        assert wait_until(lambda: "P05" in doctor(server.pid, "--select=P"), 7)
        assert "/sleep/7 runs for" in doctor(server.pid, "--select=P")["P05"]


def test_gunicorn(tmp_path, silent):
    (tmp_path / "plain.py").write_text(PLAIN)
    with Gunicorn("plain:application", ["--workers=2"], cwd=tmp_path, env=silent) as server:
        with ThreadPoolExecutor(2) as pool:
            for _ in range(2):
                pool.submit(get, server, "/hang", 4)
            assert wait_until(lambda: "P06" in doctor(server.pid, "--select=P"), 15)
            server.stop(signal.SIGKILL)
