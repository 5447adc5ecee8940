"""`resilient-wsgi stacks` harms neither the worker that it looks at nor whoever runs it, and says
what it could not see.
"""

from __future__ import annotations

import contextlib
import encodings.ascii  # noqa: F401 - another user may not read this Python
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.threads import stale_states
from lab.processes import wait_until
from resilient_wsgi import cli
from resilient_wsgi.cli import output, stacks as verb, worker_stacks as command
from resilient_wsgi.request.running import RequestDeadline, Running
from resilient_wsgi.request.stack_dumps import file_of, report
from resilient_wsgi.request.stacks_socket import StacksSocket, socket_name
from resilient_wsgi.shm.directory import open_private
from tests.servers.requests_common import HOOKS, ROOT, body, get, running, stacks


@pytest.mark.servers
@pytest.mark.parametrize(
    ("kinds", "options"),
    [
        ("thread executor timer lock deep", {**stale_states.LOAD, **stale_states.HOOKS}),
        ("executor deep", stale_states.MODES["several mounts"]),
    ],
    ids=["prefork", "mounts"],
)
def test_looking_at_workers_whose_master_had_threads_ends_none_of_them(kinds, options):
    """A sample of bench.threads.stale_states."""
    result = stale_states.run(kinds, "all", options, Namespace(rounds=2, unrepaired=False, logs=""))
    assert not result.crashed
    assert len(result.lives) >= 4
    assert result.looked > 10
    assert result.failed == 0
    assert result.ended <= result.ran_atexit


@pytest.mark.servers
def test_of_several_mounts_only_the_first_interpreter_registers_the_function():
    app = "tests.servers.apps.request_app:application"
    options = {
        **HOOKS,
        "mount": [f"/one={app}", f"/two={app}"],
        "manage-script-name": True,
        "module": [],
    }
    with running(options, ready="spawned uWSGI worker") as server:
        assert [body(server, f"/{mount}/") for mount in ("one", "two")] == ["hello"] * 2
        assert server.log().count('RPC function "resilient_wsgi_ready"') == 1


@pytest.mark.servers
def test_all_requests_that_begin_together_in_a_new_worker_are_listed():
    with running({"threads": 4}) as server, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(get, server, f"/sleep/{seconds}") for seconds in (2.1, 2.2, 2.3, 2.4)]
        seen = []

        def listed():
            found = re.findall(r"^GET /sleep/2\.\d", stacks(server.pid)[0], re.MULTILINE)
            seen.append(set(found))
            return seen

        assert wait_until(lambda: len(listed()[-1]) == 4, 2), seen
        assert all(each.result().good for each in asked)


def test_a_thread_that_was_faster_than_the_start_of_its_worker_keeps_its_entry_and_gets_a_place():
    class Row:
        def __init__(self):
            self.noted = []
            self.begin = lambda *request: self.noted.append(request)
            self.clear = self.noted.clear

    table, rows = Running(), [Row(), Row()]
    slot = table.add_thread()
    slot.request = type(
        "Request",
        (),
        {"environ": {"REQUEST_METHOD": "GET", "PATH_INFO": "/first"}, "start": 5.0, "at": 35.0},
    )()
    table.begin(os.getpid())
    assert list(table.slots.values()) == [slot]
    table.give(rows)
    assert slot.row.noted == [(5.0, 35.0, b"GET", b"/first", 5.0)]
    assert len(table.rows) == 1
    table.take_back()
    assert slot.row is None


READS_ONLY = """
import fcntl, os, sys
from resilient_wsgi.cli import main
changes = []
def seen(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        changes.append((event, *arguments))
    elif event.split(".")[0] == "fcntl" or event in ("os.remove", "os.truncate", "os.mkdir", "os.rename", "os.link", "os.chmod"):
        changes.append((event, *arguments))
sys.addaudithook(seen)
code = main(["stacks", sys.argv[1]])
sys.stderr.write(repr(changes))
sys.exit(code)
"""


@pytest.mark.servers
def test_the_command_writes_locks_and_truncates_nothing():
    with running(HOOKS) as server, ThreadPoolExecutor(1) as pool:
        for path in ("/", "/hold-the-gil"):  # answered by Python, and at the signal
            pool.submit(get, server, path, 8.0)
            time.sleep(0.3)
            done = subprocess.run(
                [sys.executable, "-B", "-c", READS_ONLY, str(server.pid)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "[]")
        assert "in hold_the_gil" in done.stdout


@pytest.fixture
def private(tmp_path):
    tmp_path.chmod(0o700)
    return open_private(str(tmp_path), os.geteuid())


def ask(directory, pid=0):
    pid = pid or os.getpid()
    worker = command.Worker(pid, directory, directory.names())
    began = time.monotonic()
    command.ask([worker], patience=0.5)
    assert time.monotonic() - began < 2
    return worker


def answering(directory, text="no request runs"):
    listening = StacksSocket(directory, lambda: text)
    thread = threading.Thread(target=listening.serve, daemon=True)
    thread.start()
    return listening, thread


def test_a_worker_is_answered_for_by_its_own_thread_until_it_is_closed(private):
    listening, thread = answering(private)
    assert ask(private).answer == b"no request runs"
    listening.close()
    thread.join(5)
    assert not thread.is_alive()
    assert private.names() == []


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "file"])
def test_what_stands_in_place_of_its_socket_is_not_touched_and_holds_nobody_up(private, kind):
    elsewhere = socket.socket(socket.AF_UNIX)
    elsewhere.bind(f"{private.path}/elsewhere")
    elsewhere.listen()
    path = f"{private.path}/{socket_name(os.getpid())}"
    {
        "symlink": lambda: os.symlink("elsewhere", path),
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: os.mkdir(path),
        "file": lambda: open(path, "w").close(),
    }[kind]()
    worker = ask(private)
    assert (worker.answer, worker.problem) == (b"", "its socket is no socket of its user")
    elsewhere.setblocking(False)
    with pytest.raises(BlockingIOError):
        elsewhere.accept()
    elsewhere.close()


def test_a_socket_of_another_process_is_not_believed(private):
    listening, thread = answering(private, "forged")
    other = subprocess.Popen(["sleep", "60"])
    try:
        os.rename(
            f"{private.path}/{socket_name(os.getpid())}", f"{private.path}/{socket_name(other.pid)}"
        )
        worker = ask(private, other.pid)
        assert (worker.answer, worker.problem) == (b"", "its socket is another process's")
    finally:
        other.kill()
        other.wait()
        listening.close()
        thread.join(5)


def test_one_that_never_answers_or_never_stops_is_left_after_a_time_and_an_amount(
    private, monkeypatch
):
    monkeypatch.setattr(command, "MOST_BYTES", 1 << 17)
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(f"{private.path}/{socket_name(os.getpid())}")
    silent.listen()
    assert ask(private).answer == b""
    over = threading.Event()

    def pour():
        with silent.accept()[0] as connection:
            connection.settimeout(5)
            while not over.is_set():
                try:
                    connection.sendall(b"x" * 65536)
                except OSError:
                    return

    silent.accept()[0].close()  # of the first, who has gone
    thread = threading.Thread(target=pour, daemon=True)
    thread.start()
    worker = ask(private)
    assert len(worker.answer) <= (1 << 17) + 65536
    assert not worker.complete
    over.set()
    thread.join(10)
    silent.close()


def test_a_reader_that_does_not_read_holds_up_the_worker_s_thread_for_a_bounded_time(private):
    listening = StacksSocket(private, lambda: "x" * 400_000)
    with socket.socket(socket.AF_UNIX) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        reader.connect(f"{private.path}/{socket_name(os.getpid())}")
        began = time.monotonic()
        assert listening.wait(5)
        assert time.monotonic() - began < 1
    listening.close()


def test_an_app_that_has_closed_all_descriptors_gets_no_connection_of_ours_and_no_loop(private):
    listening = StacksSocket(private, lambda: "")
    number = listening._socket.fileno()
    theirs = socket.socket()
    os.dup2(theirs.fileno(), number)
    began = time.monotonic()
    assert not listening.wait(0.1)
    listening.close()
    assert time.monotonic() - began < 2
    os.fstat(number)  # it is theirs: still open
    os.close(number)
    theirs.close()


def test_the_number_of_a_signal_in_a_name_is_that_of_a_real_time_signal():
    assert file_of(["stacks-7", "stacks-7-44", "stacks-70-45"], 7) == ("stacks-7-44", 44)
    assert file_of(["stacks-7-09", "stacks-7-15", "stacks-7-99", "stacks-7-044"], 7) is None


def test_what_comes_from_outside_is_escaped_before_it_reaches_the_terminal(private, capsys):
    path = "/a\r\nGET /forged for 0.10 s\x1b[31m\u202e"
    request = RequestDeadline(0.0, 10.0, {"REQUEST_METHOD": "GET", "PATH_INFO": path})
    text = report([(threading.get_ident(), request)], 1.0)
    assert text.startswith(
        r"GET /a\r\nGET /forged for 0.10 s\x1b[31m\u202e for 1.00 s" + "\n\nthread "
    )
    listening, thread = answering(private, "what\x1b[31m a worker says\rof itself\n")
    worker = ask(private)
    output.say(*verb.render(worker, {}))
    assert "what\\x1b[31m a worker says\\rof itself\n" in capsys.readouterr().out
    listening.close()
    thread.join(5)


def as_user(uid, *arguments):
    """Return the exit code and the output of the command, run by another user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 3
        try:
            said = io.StringIO()
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = cli.main(["stacks", *map(str, arguments)])
            os.write(writing, said.getvalue().encode())
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


@pytest.mark.servers
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_root_and_the_user_of_the_workers_can_look_and_nobody_else():
    with running(HOOKS, env_more={"RUN_AS": "65534"}) as server:
        assert body(server, "/") == "hello"
        for whom in (server.pid, server.workers()[0]):
            code, text = as_user(0, whom)
            assert (code, "no request runs" in text) == (0, True), text
            code, text = as_user(65534, whom)
            assert (code, "no request runs" in text) == (0, True), text
            code, text = as_user(65533, whom)
            assert (code, "no permission" in text) == (2, True), text


def test_a_process_that_is_not_there_and_one_that_is_not_ours_are_code_2():
    other = subprocess.Popen(["sleep", "60"])
    try:
        assert stacks(other.pid) == ("", 2)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert stacks(other.pid) == ("", 2)
