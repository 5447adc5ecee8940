"""What the doctor calls an error breaks or kills a real uWSGI."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.processes import Server
from lab.processes.base import find_tool, wait_until
from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.model import RULES, Severity
from resilient_wsgi.doctor.rules import load
from resilient_wsgi.host.sockets import somaxconn

load()
ROOT = Path(__file__).parents[2]
APP = {"module": "tests.servers.apps.doctor_app", "pythonpath": str(ROOT)}
MASTER = {"master": True, "need-app": True, **APP}
NEGATIVE = {"uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:0\nprocesses = -1\n"}
STRICT = {"uwsgi.ini": "[uwsgi]\nstrict = true\nproceses = 4\n"}
LONG_QUEUE = {
    "uwsgi.ini": f"[uwsgi]\nsocket = 127.0.0.1:0\nlisten = {somaxconn() + 1}\n",
    "machine": f"net.core.somaxconn = {somaxconn()}",
}


def errors(files):
    return {each.code for each in examine(from_texts(files)) if each.severity is Severity.ERROR}


def found(options, listen="http-socket = 127.0.0.1:8000"):
    """Return the errors that the doctor finds in options of a server."""
    lines = [f"{name} = {str(value).lower()}" for name, value in options.items()]
    return errors({"uwsgi.ini": "\n".join(["[uwsgi]", listen, *lines, ""])})


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("U02", NEGATIVE),
        ("U04", STRICT),
        ("U17", None),
        ("U45", LONG_QUEUE),
        ("U47", None),
        ("U85", None),
        ("U88", None),
        ("U89", None),
    ],
)
def test_uwsgi_refuses_to_start(code, files, tmp_path):
    """With the rule's own bad example, if no files are given."""
    files = files or RULES[code].bad
    assert code in errors(files)
    (tmp_path / "uwsgi.ini").write_text(files["uwsgi.ini"])
    done = subprocess.run(
        [find_tool("uwsgi"), "--ini", "uwsgi.ini", f"--virtualenv={sys.prefix}", "--master"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-500:]


def test_u84_a_hook_of_a_function_that_nobody_registers_ends_the_instance():
    options = {**MASTER, "hook-accepting": "rpc:resilient_wsgi_ready"}
    assert "U84" in found(options)
    with Server(options) as server:
        assert wait_until(lambda: not server.alive(), 15), server.log()


def test_u01_a_boolean_with_a_comment_is_on(get):
    options = {**MASTER, "lazy-apps": "false ; keep prefork"}
    assert "U01" in found(options)
    with Server(options, ready="^spawned uWSGI worker") as server:
        assert get(server.port).split()[0] == b"1"  # loaded by worker 1, not by the master (0)


def test_u02_a_queue_length_from_a_placeholder_is_0():
    options = {**MASTER, "backlog": 64, "listen": "%(backlog)"}
    assert "U02" in found(options)
    with Server(options) as server:
        assert "limited to 0 connections" in server.log()


def test_u07_without_a_master_a_dead_worker_stays_dead(get):
    options = {**APP, "processes": 2}
    assert "U07" in found(options)
    with Server(options, ready="^spawned uWSGI worker 2", ready_count=1) as server:
        (worker,) = server.workers()  # the other one is the first process itself
        os.kill(worker, signal.SIGKILL)
        assert not wait_until(lambda: server.log().count("spawned uWSGI worker") > 2, 3)
        assert get(server.port)


def test_u10_sigterm_reloads_and_the_instance_stays():
    with Server(MASTER) as server:
        workers = server.workers()
        server.signal(signal.SIGTERM)
        server.wait_for_log(r"^\.\.\.brutally killing workers\.\.\.")
        assert wait_until(lambda: server.workers() and server.workers() != workers, 20)
        assert server.alive()


def test_u11_uwsgi_stop_reloads_under_die_on_term(get):
    with Server({**MASTER, "die-on-term": True}) as server:
        with contextlib.suppress(OSError):
            get(server.port, "/stop")
        server.wait_for_log(r"^\.\.\.brutally killing workers\.\.\.")
        assert wait_until(lambda: server.log().count("spawned uWSGI worker 1") == 2, 20)
        assert server.alive()


def test_u22_harakiri_with_a_threshold_never_fires_on_a_unix_socket(tmp_path):
    options = {**MASTER, "harakiri": 1, "harakiri-queue-threshold": 3}
    assert "U22" in found(options, "http-socket = /run/app.sock")
    with Server(options, listen_on="http-unix") as server:
        answer = ask(server.socket_path, "/sleep/4")
        assert b"200 OK" in answer
        assert "HARAKIRI ON WORKER" not in server.log()


def test_u42_a_chain_reload_without_lazy_apps_starts_the_old_code(get, tmp_path):
    text, touch = tmp_path / "version", tmp_path / "touch"
    text.write_text("old")
    touch.write_text("")
    options = {**MASTER, "processes": 2, "touch-chain-reload": str(touch)}
    assert "U42" in found(options)
    with Server(options, env={"DOCTOR_TEXT_FILE": str(text)}) as server:
        text.write_text("new")
        os.utime(touch, (time.time() + 5, time.time() + 5))
        server.wait_for_log(r"^Respawned uWSGI worker 2", 20)
        server.wait_for_log("chain reloading complete", 20)
        assert get(server.port).split()[-1] == b"old"


def test_u46_the_backlog_algorithm_starts_no_worker_on_a_unix_socket():
    cheaper = {"cheaper": 1, "cheaper-algo": "backlog", "cheaper-overload": 1}
    options = {**MASTER, **cheaper, "processes": 4}
    assert "U46" in found(options, "http-socket = /run/app.sock")
    with Server(options, listen_on="http-unix", ready_count=1) as server:
        request = (server.socket_path, "/sleep/1")
        threads = [threading.Thread(target=ask, args=request) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert server.log().count("spawned uWSGI worker") == 1


def test_u59_whoever_speaks_the_uwsgi_protocol_has_a_file_run(tmp_path):
    proof, file = tmp_path / "proof", tmp_path / "uploaded.txt"
    file.write_text(f"open({str(proof)!r}, 'w')\ndef application(e, s):\n    s('200 OK', [])\n")
    with Server(MASTER, listen_on="uwsgi") as server:
        names = {"REQUEST_METHOD": "GET", "SERVER_NAME": "x", "SERVER_PORT": "80"}
        names.update({"PATH_INFO": "/", "QUERY_STRING": "", "REQUEST_URI": "/"})
        names.update({"UWSGI_FILE": str(file), "UWSGI_APPID": "of my own"})
        parts = [each.encode() for pair in names.items() for each in pair]
        body = b"".join(struct.pack("<H", len(each)) + each for each in parts)
        with socket.create_connection(("127.0.0.1", server.port), 10) as client:
            client.sendall(struct.pack("<BHB", 0, len(body), 0) + body)
            client.recv(65536)
        assert proof.exists()


def test_u70_a_limit_below_the_interpreter_kills_workers_in_their_requests(get):
    options = {**MASTER, "evil-reload-on-rss": "1G"}
    assert "U70" in found(options)
    with Server(options) as server, pytest.raises(OSError):
        get(server.port, "/sleep/15")


def test_u73_daemonize_ends_the_process_that_a_supervisor_has_started(tmp_path):
    ini = tmp_path / "uwsgi.ini"
    options = {"socket": "127.0.0.1:0", "daemonize": tmp_path / "log", "pidfile": tmp_path / "pid"}
    lines = [f"{name} = {value}" for name, value in {**options, "master": "true"}.items()]
    ini.write_text("\n".join(["[uwsgi]", *lines, ""]))
    started = subprocess.run(
        [find_tool("uwsgi"), "--ini", str(ini)],
        timeout=10,
        check=False,
        stderr=subprocess.DEVNULL,
    )
    assert wait_until((tmp_path / "pid").exists, 10)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert started.returncode == 0
        os.kill(pid, 0)  # it runs on without the process that was started
    finally:
        assert wait_until(lambda: ended(pid), 20)


def test_u92_a_small_buffer_refuses_requests(get):
    options = {**MASTER, "buffer-size": "32k"}
    assert {"U92", "U02"} <= found(options)
    with Server(options) as server, pytest.raises(OSError):
        get(server.port)


def ended(pid):
    """Ask an instance to stop; return whether it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
        return False
    return True


def ask(path, target):
    """Return the whole answer to a request over a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(f"GET {target} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return answer


def test_the_findings_of_the_doctor_are_logged_once_by_the_first_worker(get, tmp_path):
    options = {**MASTER, "processes": 2, "module": "tests.servers.apps.plain_app"}
    options["shared-import"] = "resilient_wsgi.uwsgi"
    options.update({"hook-accepting": "rpc:resilient_wsgi_ready", "harakiri": 90})
    with Server(options) as server:
        server.wait_for_log(r"\[RW007\] uWSGI's configuration has .*U26 harakiri = 90", 20)
        assert get(server.port)
        assert server.log().count("RW007") == 1
