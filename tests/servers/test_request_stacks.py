"""`resilient-wsgi stacks` on real servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.processes import wait_until
from resilient_wsgi.request import on_signal
from tests.servers.requests_common import HOOKS, ROOT, body, get, running, stacks

pytestmark = pytest.mark.servers


def test_the_command_prints_the_stacks_of_every_worker_with_its_requests_above(tmp_path):
    pidfile = tmp_path / "pid"
    options = {**HOOKS, "processes": 2, "threads": 2, "pidfile": str(pidfile)}
    with running(options, {"TIMEOUT": 30}) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, server, "/sleep/2")
        assert wait_until(lambda: "GET /sleep/2" in stacks(server.pid)[0], 5)
        text, code = stacks("--pidfile", pidfile)
        assert code == 0
        assert len(re.findall(r"^=== \d+ ", text, re.MULTILINE)) == 2
        assert re.search(r"^GET /sleep/2 for \d\.\d\d s$(?s:.)*\bin sleep$", text, re.MULTILINE)
        assert text.count("no request runs") == 1
        assert asked.result().good


def test_it_works_when_all_threads_are_blocked_in_a_write():
    with running({**HOOKS, "threads": 2}) as server, ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(get, server, "/block-in-write", 2.5)
        assert wait_until(lambda: stacks(server.pid)[0].count("in block_in_write") == 2, 3)


def test_it_works_when_c_code_holds_the_gil():
    with running(HOOKS) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(get, server, "/hold-the-gil", 3.0)
        assert wait_until(lambda: "in hold_the_gil" in stacks(server.pid)[0], 3)


def test_it_works_with_standard_error_on_a_pipe_that_is_full():
    reading, writing = os.pipe()
    try:
        with running(HOOKS, stderr=writing, ready=None) as server:
            assert body(server, "/") == "hello"
            os.set_blocking(writing, False)
            with pytest.raises(BlockingIOError):
                while True:
                    os.write(writing, b"x" * 65536)
            assert "Current thread 0x" in stacks(server.pid)[0]
    finally:
        os.close(reading)
        os.close(writing)


def test_a_process_that_is_not_ours_is_never_sent_the_signal():
    """Without a handler it would end it."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        text, code = stacks(other.pid)
        assert (code, "no process here writes its stacks" in text) == (1, True)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_child_that_has_the_file_but_not_the_handler_is_not_sent_the_signal():
    code = (
        "import os, time; from resilient_wsgi.request.on_signal import OnSignal, number; "
        "handler = OnSignal(number('SIGRTMIN+10')); os.set_inheritable(handler.fd, True); print('ready', flush=True); "
        "os.execv('/bin/sleep', ['sleep', '60'])"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert child.stdout.readline() == b"ready\n"
        assert wait_until(lambda: os.path.basename(os.readlink(f"/proc/{child.pid}/exe")) in ("sleep", "coreutils"), 5)
        assert any(
            on_signal.NAME in os.readlink(f"/proc/{child.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{child.pid}/fd")
        )
        assert on_signal.find(child.pid) is None
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_signal_that_harakiri_uses_is_refused_by_name():
    number = on_signal.number("SIGRTMIN+10")
    options = {**HOOKS, "harakiri": 30, "harakiri-graceful-signal": number, "harakiri-graceful-timeout": 1}
    with running(options) as server:
        assert (
            body(server, "/status")
            == "no stacks: SIGRTMIN+10 is not free: the server has it for harakiri-graceful-signal"
        )
        assert stacks(server.pid)[1] == 1


def test_asking_a_thousand_times_leaves_nothing_behind():
    with running(HOOKS) as server:
        worker = int(body(server, "/pid"))
        _, signum = on_signal.find(worker)
        stacks(worker)
        before = len(os.listdir(f"/proc/{worker}/fd"))
        for _ in range(1000):
            os.kill(worker, signum)
        begin = time.monotonic()
        assert body(server, "/") == "hello"
        assert time.monotonic() - begin < 5
        assert len(os.listdir(f"/proc/{worker}/fd")) == before
