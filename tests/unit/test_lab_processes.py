"""The helper that starts and stops servers: clear errors, and nothing left running."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from lab.measuring import load, procfs
from lab.processes import Process, ProcessError, Server, ToolMissing, Upstream, wait_until
from lab.processes.base import find_tool

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


class Script(Process):
    """A small program in Python."""

    name = "script"

    def __init__(self, code, **options):
        super().__init__(**options)
        self.code = code

    def command(self):
        return [sys.executable, "-u", "-c", self.code]

    def is_ready(self):
        return "ready" in self.log()


def is_gone(pid):
    return procfs.stat(pid) is None or procfs.stat(pid).state == "Z"


def test_a_program_that_ends_before_it_is_ready_is_an_error_with_the_end_of_its_log():
    with pytest.raises(ProcessError, match=r"ended with code 3(?s:.)*out of cheese"):
        with Script("import sys; print('out of cheese'); sys.exit(3)"):
            pass


def test_a_program_that_is_never_ready_is_an_error_with_the_end_of_its_log():
    with pytest.raises(ProcessError, match=r"not ready within 0.3 s(?s:.)*still thinking"):
        with Script("import time; print('still thinking'); time.sleep(60)", start_timeout=0.3):
            pass


def test_a_program_that_is_not_installed_is_named():
    with pytest.raises(ToolMissing, match=r"^no-such-server not found$"):
        find_tool("no-such-server")


def test_children_that_ignore_signals_are_gone_when_the_block_ends_by_an_exception():
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for _ in range(2):\n    if os.fork() == 0:\n        os.setpgid(0, 0)\n        "
        "time.sleep(60)\n"
        "print('ready'); time.sleep(60)"
    )
    with pytest.raises(RuntimeError, match="in the block"):
        with Script(code) as script:
            pids = [script.pid, *script.workers()]
            assert len(pids) == 3
            directory = script.directory
            raise RuntimeError("in the block")
    assert wait_until(lambda: all(map(is_gone, pids)), 5.0)
    assert not directory.exists()


def test_nothing_else_is_ended():
    other = os.spawnv(
        os.P_NOWAIT, sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"]
    )
    try:
        with Script("import time; print('ready'); time.sleep(60)"):
            pass
        assert not is_gone(other)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_the_log_is_still_there_after_the_end():
    with Script("import time; print('ready, steady'); time.sleep(60)") as script:
        pass
    assert script.log() == "ready, steady\n"


def test_a_server_heeds_the_signals_that_this_process_ignores():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Script("import time; print('ready'); time.sleep(60)") as script:
            script.stop(signal.SIGINT, patience=20.0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_stop_says_how_long_it_took_and_does_not_wait_for_ever():
    stubborn = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(60)"
    )
    with Script(stubborn) as script:
        with pytest.raises(ProcessError, match=r"still ran 0.2 s after SIGTERM"):
            script.stop(patience=0.2)
        assert 0 <= script.stop(signal.SIGINT, patience=20.0) < 20.0


def test_whether_a_program_heeds_signals_is_known():
    code = (
        "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('ready'); "
        "time.sleep(1); signal.signal(15, lambda *_: sys.exit()); time.sleep(60)"
    )
    with Script(code) as script:
        assert not script.heeds_signals()
        assert wait_until(script.heeds_signals, 30.0)
        script.stop()
        assert not script.heeds_signals()


def test_wait_for_log_gives_up_with_the_end_of_the_log():
    with Script("import time; print('ready'); time.sleep(60)") as script:
        assert script.wait_for_log("^rea(dy)")[0].group(1) == "dy"
        with pytest.raises(ProcessError, match=r"did not write 'never'(?s:.)*ready"):
            script.wait_for_log("never", 0.2)


def test_environment_is_added_to_and_taken_away_from(monkeypatch):
    monkeypatch.setenv("LAB_INHERITED", "yes")
    code = "import os, time; print('ready', os.environ.get('LAB_INHERITED'), os.environ['LAB_MORE']); time.sleep(60)"
    with Script(code, env={"LAB_INHERITED": None, "LAB_MORE": "1"}) as script:
        assert script.log() == "ready None 1\n"


@pytest.mark.servers
def test_uwsgi_with_a_bad_option_is_an_error_that_shows_uwsgis_own_words():
    with pytest.raises(
        ProcessError, match=r"uwsgi ended with code(?s:.)*unable to load|no-such-option"
    ):
        with Server({"strict": True, "no-such-option": "1"}):
            pass


@pytest.mark.servers
@pytest.mark.parametrize("listen_on", ["http", "http-unix"])
def test_uwsgi_answers_knows_its_workers_and_is_gone_afterwards(tmp_path, listen_on):
    (tmp_path / "hello.py").write_text(HELLO)
    options = {"master": True, "processes": 2, "pythonpath": str(tmp_path), "module": "hello"}
    with Server(options, listen_on=listen_on) as server:
        address = server.port if listen_on == "http" else server.socket_path
        assert load.get(address, "/").status == "200"
        pids = [server.pid, *server.workers()]
        assert len(pids) == 3
    assert wait_until(lambda: all(map(is_gone, pids)), 5.0)


@pytest.mark.servers
def test_uwsgi_writes_to_the_descriptor_that_it_is_given(tmp_path):
    (tmp_path / "hello.py").write_text(HELLO)
    read_end, write_end = os.pipe()
    try:
        with Server(
            {"master": True, "pythonpath": str(tmp_path), "module": "hello"}, stderr=write_end
        ) as server:
            assert load.get(server.port, "/").good
            assert server.log() == ""
        assert b"Starting uWSGI" in os.read(read_end, 1 << 16)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_the_upstream_does_as_it_is_told():
    with Upstream() as upstream:
        assert load.get(upstream.port, "/offers").good
        upstream.tell("hang")
        assert load.get(upstream.port, "/offers", 0.3).status == load.NO_ANSWER
        upstream.tell("drip")
        assert load.get(upstream.port, "/offers", 0.3).status == load.NO_ANSWER
        upstream.tell("refuse")
        assert load.get(upstream.port, "/offers").status == load.REFUSED
        upstream.recover()
        assert load.get(upstream.port, "/offers").good
        with pytest.raises(ValueError, match="'sulk' is none of answer, hang, drip, refuse"):
            upstream.tell("sulk")


def test_load_is_bounded_in_time_and_leaves_no_thread():
    with Upstream() as upstream:
        begin = time.monotonic()
        with load.Load(upstream.port, [load.Rate("/offers", 50)], seconds=0.4) as traffic:
            assert wait_until(
                lambda: not any(thread.name == "load" for thread in threading.enumerate()), 20.0
            )
        assert time.monotonic() - begin >= 0.3
        assert 1 <= len(traffic.answers) <= 21
        assert all(answer.good for answer in traffic.answers)
