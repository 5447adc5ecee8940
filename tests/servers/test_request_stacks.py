"""`resilient-wsgi stacks` on real servers."""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.processes import wait_until
from resilient_wsgi.cli import worker_stacks
from resilient_wsgi.host import procfs
from resilient_wsgi.request import stack_dumps
from resilient_wsgi.shm import instance
from tests.servers.requests_common import HOOKS, body, get, running, stacks

pytestmark = pytest.mark.servers


def parts_of(text):
    return {part for part in ("\n  sleep (", "no request runs") if part in text}


def test_the_command_prints_the_stacks_of_every_worker_with_its_requests_above(tmp_path):
    pidfile = tmp_path / "pid"
    options = {**HOOKS, "processes": 2, "threads": 2, "pidfile": str(pidfile)}
    with running(options, {"TIMEOUT": 30}) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, server, "/sleep/4")
        # the other worker may still be starting
        assert wait_until(
            lambda: {"\n  sleep (", "no request runs"} <= parts_of(stacks(server.pid)[0]), 10
        )
        text, code = stacks("--pidfile", pidfile)
        assert code == 0
        assert len(re.findall(r"^=== \d+ ", text, re.MULTILINE)) == 2
        assert re.search(r"^GET /sleep/4 for \d\.\d\d s$(?s:.)*^  sleep \(", text, re.MULTILINE)
        assert text.count("no request runs") == 1
        assert asked.result().good


def test_it_works_when_all_threads_are_blocked_in_a_write():
    with running({**HOOKS, "threads": 2}) as server, ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(get, server, "/block-in-write", 2.5)
        assert wait_until(lambda: stacks(server.pid)[0].count("  block_in_write (") == 2, 3)


def test_it_works_when_c_code_holds_the_gil_by_a_signal_that_is_announced():
    with running(HOOKS) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(get, server, "/hold-the-gil", 6.0)
        assert wait_until(lambda: "GET /hold-the-gil" in stacks(server.pid, "--no-signal")[0], 5)
        text, code = stacks(server.pid, "--no-signal")
        assert (code, "no stacks: --no-signal" in text) == (1, True)
        text, code = stacks(server.pid)
        assert code == 0
        assert re.search(
            r"no Python thread answered: within 2 s\nsending signal \d+, .* may end it if it is "
            r"busy",
            text,
        )
        assert "in hold_the_gil" in text


def test_a_worker_that_is_stopped_is_not_sent_the_signal():
    with running(HOOKS) as server:
        worker = int(body(server, "/pid"))
        os.kill(worker, signal.SIGSTOP)
        assert wait_until(lambda: stopped(worker), 5)
        try:
            text, code = stacks(server.pid)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert (code, "no stacks: the process is stopped" in text) == (1, True)
        assert body(server, "/pid") == str(worker)


def test_it_works_with_standard_error_on_a_pipe_that_is_full():
    reading, writing = os.pipe()
    try:
        with running(HOOKS, stderr=writing, ready=None) as server:
            assert body(server, "/") == "hello"
            os.set_blocking(writing, False)
            with pytest.raises(BlockingIOError):
                while True:
                    os.write(writing, b"x" * 65536)
            assert "no request runs\n\nthread '" in stacks(server.pid)[0]
    finally:
        os.close(reading)
        os.close(writing)


def test_a_process_that_the_worker_has_started_is_neither_asked_nor_sent_the_signal():
    with running(HOOKS) as server:
        child = int(body(server, "/start-sleep"))
        assert stacks(child)[1] == 2
        assert f"=== {child}" not in stacks(body(server, "/pid"))[0]
        os.kill(child, 0)


def test_a_signal_that_harakiri_uses_is_refused_by_name():
    number = stack_dumps.number("SIGRTMIN+10")
    options = {
        **HOOKS,
        "harakiri": 30,
        "harakiri-graceful-signal": number,
        "harakiri-graceful-timeout": 1,
    }
    with running(options) as server:
        reason = "SIGRTMIN+10 is not free: the server has it for harakiri-graceful-signal"
        assert (
            body(server, "/status")
            == f"stacks on demand: from a thread of Python, no signal: {reason}"
        )
        text, code = stacks(server.pid)
        # a thread of Python answers all the same
        assert (code, "no request runs" in text) == (0, True)


def test_asking_a_thousand_times_leaves_nothing_behind():
    with running(HOOKS) as server:
        worker = int(body(server, "/pid"))
        directory = instance.find(server.pid)
        one = stacks_worker(worker)
        worker_stacks.ask([one])
        assert one.complete
        server.wait_for_log(r"\[RW007\]")  # the start has let go of its descriptors
        before = os.listdir(f"/proc/{worker}/fd")
        begin = time.monotonic()
        for _ in range(100):
            some = [stacks_worker(worker) for _ in range(8)]
            worker_stacks.ask(some)
            assert all(each.answer for each in some)
        assert time.monotonic() - begin < 30
        assert body(server, "/") == "hello"
        assert len(os.listdir(f"/proc/{worker}/fd")) == len(before)
        assert [
            name
            for name in directory.names()
            if name.startswith("stacks-") and str(worker) not in name
        ] == []


def stopped(pid):
    """Whether each thread of a process has noticed that it is to stop."""
    found = [procfs.stat(pid, tid) for tid in procfs.tasks(pid)]
    return all(about is None or about.state == "T" for about in found)


def stacks_worker(pid):
    directory = instance.find(pid)
    return worker_stacks.Worker(pid, directory, directory.names())
