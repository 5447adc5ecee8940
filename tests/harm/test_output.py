"""Output: nothing is lost to a reader that reads, nothing blocks at one that does not, and what is
no log is left alone.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from bench.stderr.bursts import APP as BURST
from lab.measuring import load, procfs
from lab.processes import Gunicorn, Server, wait_until
from lab.stderr.log_servers import SHIM
from resilient_wsgi.cli.main import main
from resilient_wsgi.host import descriptors, pipes
from resilient_wsgi.stderr import NonBlockingStream
from resilient_wsgi.stderr.wait_policy import CREDIT_SECONDS, CREDIT_SHARE, WaitPolicy

DROPPED = re.compile(rb"(\d+) lines \(\d+ bytes\) dropped")


class Reader(threading.Thread):
    """Reads a pipe or socket to its end, at most `rate` bytes a second."""

    def __init__(self, fd, rate=0.0):
        super().__init__()
        self.fd = fd
        self.rate = rate
        self.text = bytearray()
        self.start()

    def run(self):
        while True:
            chunk = os.read(self.fd, 32768)
            if not chunk:
                return
            self.text += chunk
            if self.rate:
                time.sleep(len(chunk) / self.rate)

    def dropped(self):
        return sum(map(int, DROPPED.findall(bytes(self.text))))


@contextlib.contextmanager
def read(rate=0.0):
    """Yield the end to write to, and its reader, which ends with the block."""
    reading, writing = os.pipe()
    reader = Reader(reading, rate)
    try:
        yield writing, reader
    finally:
        os.close(writing)
        reader.join()
        os.close(reading)


@contextlib.contextmanager
def uwsgi(folder, code, stderr, **options):
    """Run uWSGI with this module as its app and the library in it."""
    (folder / "app.py").write_text(textwrap.dedent(code))
    env = {"PYTHONPATH": str(folder), **options.pop("env", {})}
    chosen = {
        "master": True,
        "module": "app",
        "lazy-apps": True,
        "die-on-term": True,
        "disable-logging": True,
    }
    more = {name.replace("_", "-"): value for name, value in options.items()}
    server = Server(
        {**chosen, "shared-import": "resilient_wsgi.uwsgi", **more}, env=env, stderr=stderr
    )
    with server:
        yield server


# What is no log

COMMAND = """
import json
from django.core.management.base import BaseCommand
class Command(BaseCommand):
    def handle(self, **_):
        self.stdout.write(json.dumps(list(range(5000))))
        for i in range(10000): self.stdout.write('row %08d %s' % (i, 'x' * 80))
"""


def test_a_management_command_gives_all_its_output_to_a_slow_reader_of_both_streams(tmp_path):
    pytest.importorskip("django")
    commands = tmp_path / "shop" / "management" / "commands"
    commands.mkdir(parents=True)
    for folder in (commands, commands.parent, commands.parent.parent):
        (folder / "__init__.py").touch()
    (commands / "rows.py").write_text(COMMAND)
    (tmp_path / "conf.py").write_text(
        "SECRET_KEY = 'x'\nINSTALLED_APPS = ['resilient_wsgi.django', 'shop']\n"
    )
    env = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}",
        "DJANGO_SETTINGS_MODULE": "conf",
    }
    with read(rate=3e6) as (log, reader):
        done = subprocess.run(
            [sys.executable, "-m", "django", "rows"],
            stdout=log,
            stderr=log,
            env=env,
            timeout=60,
            check=False,
        )
    first, *rows = reader.text.decode().splitlines()
    assert (done.returncode, len(json.loads(first)), len(rows)) == (0, 5000, 10000)


PRETEND = """
import sys
from resilient_wsgi import installation, servers
from resilient_wsgi.servers.plain import PlainServer
class Pretended(PlainServer):
    name = sys.argv[1]
servers.use(Pretended())
status, *_ = installation.install().status()
print([type(s).__name__ for s in (sys.stdout, sys.stderr)], status.why_not, file=open(3, "w"))
"""


@pytest.mark.parametrize(
    ("server", "where", "replaced"),
    [
        ("plain", "one pipe", []),
        ("runserver", "one pipe", []),
        *((name, "one pipe", ["stdout", "stderr"]) for name in ("uwsgi", "gunicorn", "celery")),
        *((name, "two pipes", ["stderr"]) for name in ("gunicorn", "celery")),
    ],
)
def test_streams_are_replaced_in_a_servers_process_alone_and_standard_output_where_it_is_the_same_pipe(
    server, where, replaced
):
    answer, say = os.pipe()
    code = f"import os; os.dup2({say}, 3); exec({PRETEND!r})"
    with read() as (log, _), read() as (other, _), open(answer) as answers:
        subprocess.run(
            [sys.executable, "-c", code, server],
            stdout=log if where == "one pipe" else other,
            stderr=log,
            pass_fds=[say],
            timeout=60,
            check=True,
        )
        os.close(say)
        said = answers.read()
    expected = [
        "NonBlockingStream" if name in replaced else "TextIOWrapper"
        for name in ("stdout", "stderr")
    ]
    assert said.startswith(str(expected))
    assert bool(replaced) is ("not a process of a server" not in said)


# A reader that reads


@pytest.mark.servers
@pytest.mark.parametrize(
    ("rate", "lines", "options"),
    [
        (0, 20_000, {}),
        (0, 1000, {"processes": 4, "threads": 8}),
        (8e6, 10_000, {}),
        (3e6, 5000, {}),
    ],
    ids=["cat", "cat, 4 x 8 threads", "8 MB/s", "3 MB/s"],
)
def test_a_burst_loses_no_line_to_a_reader_that_reads(tmp_path, rate, lines, options):
    requests = 32 if options else 3
    with read(rate) as (log, reader):
        with uwsgi(tmp_path, BURST, log, **options) as server:
            answers = load.closed_loop(
                server.port, f"/?{lines}", count=requests, clients=8 if options else 1, patience=60
            )
            assert all(answer.good for answer in answers)
    assert len(re.findall(rb"line \d{5} x{180}\n", bytes(reader.text))) == lines * requests
    assert reader.dropped() == 0


CHILDREN = """
import multiprocessing, os, subprocess, sys
PYTHON = {python!r}
sys.executable = PYTHON
multiprocessing.set_executable(PYTHON)
import noisy
def fork_exec():
    pid = os.fork()
    if not pid: os.execv(PYTHON, [PYTHON, "-c", "import noisy; noisy.write()"])
    os.waitpid(pid, 0)
def process(how):
    child = multiprocessing.get_context(how).Process(target=noisy.write); child.start(); child.join(30)
ways = {{
    "subprocess": lambda: subprocess.call([PYTHON, "-c", "import noisy; noisy.write()"]),
    "system": lambda: os.system(PYTHON + " -c 'import noisy; noisy.write()'"),
    "fork and exec": fork_exec,
    **{{how: lambda how=how: process(how) for how in ("fork", "spawn", "forkserver")}},
}}
def application(environ, start_response):
    for name, way in ways.items():
        os.environ["NAME"] = name
        way()
    start_response("200 OK", [])
    return [b"ok"]
"""
NOISY = """
import os, sys
def write():
    name = os.environ["NAME"]
    for i in range(4000): print("CHILD", name, "y" * 80, file=sys.stderr, flush=os.environ.get("FLUSH"))
"""
WAYS = ("subprocess", "system", "fork and exec", "fork", "spawn", "forkserver")


@pytest.mark.servers
@pytest.mark.parametrize("where", ["pipe", "journal's socket"])
def test_children_lose_no_line_to_a_reader_that_reads_however_they_were_started(tmp_path, where):
    """But for what C code starts: it has our descriptor, see docs/limits.md."""
    (tmp_path / "noisy.py").write_text(NOISY)
    with contextlib.ExitStack() as stack:
        if where == "pipe":
            log, reader = stack.enter_context(read(rate=4e6))
            env = {}
        else:
            log, reader, env = stack.enter_context(journal(rate=4e6))
        with uwsgi(tmp_path, CHILDREN.format(python=sys.executable), log, env=env) as server:
            assert load.get(server.port, "/", 60).good
    lines = {way: reader.text.count(f"CHILD {way} y".encode()) for way in WAYS}
    assert lines == dict.fromkeys(WAYS, 4000)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.servers
def test_two_pipes_behind_the_exec_shim_get_all_that_gunicorns_app_prints(
    tmp_path, installed, unbuffered
):
    code = """
    import sys
    def application(environ, start_response):
        for i in range(1500): print("P %05d %s" % (i, "p" * 190))
        print("done", file=sys.stderr)
        start_response("200 OK", [])
        return [b"ok"]
    """
    install = "import resilient_wsgi\nresilient_wsgi.install()\n" if installed else ""
    (tmp_path / "app.py").write_text(install + textwrap.dedent(code))

    with read(rate=4e6) as (out, printed), read(rate=4e6) as (log, errors):

        class Shimmed(Gunicorn):
            def command(self):
                return [
                    "sh",
                    "-c",
                    f'exec "$@" >/proc/{os.getpid()}/fd/{out}',
                    "sh",
                    *SHIM,
                    *super().command(),
                ]

        env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}", "PYTHONUNBUFFERED": unbuffered}
        with Shimmed("app:application", env=env, stderr=log) as server:
            assert wait_until(lambda: load.get(server.port, "/").good, 30)
            assert all(load.get(server.port, "/", 30).good for _ in range(3))
    assert len(re.findall(rb"P \d{5} p{190}\n", bytes(printed.text))) == 6000
    assert errors.text.count(b"done") == 4
    assert b"BlockingIOError" not in errors.text


def test_a_line_of_json_is_one_line_whatever_its_length():
    with read() as (log, reader):
        stream = NonBlockingStream(log)
        for size in (4000, 12_000, 100_000, 1_000_000):
            print(json.dumps({"traceback": "x" * size}), file=stream)
        assert stream.drain(30)
    assert [len(json.loads(line)["traceback"]) for line in reader.text.splitlines()] == [
        4000,
        12_000,
        100_000,
        1_000_000,
    ]


# A reader that does not read

FORKS = """
import multiprocessing, sys
def write():
    for i in range(5000): print("CHILD %05d" % i, "y" * 80, file=sys.stderr)
def application(environ, start_response):
    child = multiprocessing.get_context("fork").Process(target=write); child.start(); child.join(30)
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.mark.servers
def test_each_line_of_a_forked_child_is_read_or_counted_although_nobody_read_meanwhile(tmp_path):
    reading, writing = os.pipe()
    with uwsgi(tmp_path, FORKS, writing, processes=1) as server:
        assert load.get(server.port, "/", 30).good
        reader = Reader(reading)
        wait_until(lambda: b"CHILD 00000" in reader.text, 10)
        server.signal(signal.SIGHUP)  # what the child has left is reported by the next worker
        assert wait_until(lambda: load.get(server.port, "/", 30).good and reader.dropped(), 30)
        assert load.get(server.port, "/", 30).good
    os.close(writing)
    reader.join()
    os.close(reading)
    lines = len(set(re.findall(rb"CHILD \d{5}", bytes(reader.text))))
    assert lines == 5000  # of later children, read in full
    read_lines = reader.text.count(b"CHILD ")
    assert (read_lines + reader.dropped()) % 5000 == 0


def test_a_stalled_reader_costs_all_threads_of_a_process_one_short_wait():
    reading, writing = os.pipe()
    stream = NonBlockingStream(writing)
    began = time.monotonic()
    threads = [
        threading.Thread(target=lambda: [stream.write("x" * 99 + "\n") for _ in range(5000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 3  # one wait of a quarter of a second, and 40 000 lines
    os.close(writing)
    os.close(reading)


def threads_of(pids):
    return [len(os.listdir(f"/proc/{pid}/task")) for pid in pids]


@pytest.mark.servers
@pytest.mark.parametrize("lazy", [True, False], ids=["lazy-apps", "prefork"])
def test_an_idle_worker_writes_its_buffer_and_report_soon_after_the_reader_is_back(tmp_path, lazy):
    reading, writing = os.pipe()
    options = {"hook_accepting": "rpc:resilient_wsgi_ready", "lazy_apps": lazy}
    with uwsgi(tmp_path, BURST, writing, processes=1, **options) as server:
        assert load.get(server.port, "/?0", 30).good
        workers = server.workers()
        time.sleep(1)  # what the start has threads for is done
        before = threads_of(workers)
        assert load.get(server.port, "/?3000", 30).good
        assert threads_of(workers) > before
        # it is gone for long: nothing polls at a high rate meanwhile, in the worker or the master
        time.sleep(1)
        used = [procfs.cpu_seconds(pid) for pid in (server.pid, *workers)]
        time.sleep(1)
        assert sum(procfs.cpu_seconds(pid) for pid in (server.pid, *workers)) - sum(used) < 0.1
        reader = Reader(reading)
        assert wait_until(lambda: b"line 02999" in reader.text, 3)
        assert wait_until(lambda: reader.text.count(b" xxx") + reader.dropped() == 3000, 1)
        assert wait_until(lambda: threads_of(workers) == before, 3)
        assert server.workers() == workers
        server.signal(signal.SIGHUP)
        assert wait_until(
            lambda: server.workers() not in ([], workers) and load.get(server.port, "/?0", 30).good,
            30,
        )
    os.close(writing)
    reader.join()
    os.close(reading)


def test_a_reader_that_is_too_slow_costs_a_bounded_share_of_the_time():
    policy, now, waited = WaitPolicy(), 1000.0, 0.0
    begin = now
    while now < begin + 200:
        policy.begin(now)
        if policy.allows_waiting:
            policy.waited(now, now + 0.1)
            waited += 0.1
            policy.progress(now + 0.1)
        now += 0.1
        policy.detect_stall(now)
    assert waited < CREDIT_SECONDS + CREDIT_SHARE * 200 + 1


# The streams that others hold


HELD = """
import json, logging, os, sys, threading, time
from resilient_wsgi import servers, stderr
from resilient_wsgi.servers.plain import PlainServer

class Pretended(PlainServer):
    name = "gunicorn"

servers.use(Pretended())
old, handler = sys.stderr, logging.StreamHandler()
logging.getLogger().addHandler(handler)
gate, errors = threading.Event(), []

def write():
    while not gate.is_set():
        try:
            old.write("a line of the app\\n")
        except ValueError as error:
            errors.append(str(error))

threads = [threading.Thread(target=write) for _ in range(3)]
def start():
    for thread in threads:
        thread.start()
    raw = old.buffer
    return raw
"""


def held(tmp_path, code):
    with open(tmp_path / "log", "ab") as log:
        done = subprocess.run(
            [sys.executable, "-c", HELD + code],
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=60,
            check=True,
        )
    return json.loads(done.stdout)


def test_a_stream_that_other_threads_may_be_writing_to_is_not_initialised_again(tmp_path):
    """Initialised again beside a write, CPython's stream raises `ValueError`, or crashes."""
    said, same, ours, errors, restored = held(
        tmp_path,
        """
raw = start()
for _ in range(200):
    said = stderr.install()
    same = old.buffer is raw
    ours = [type(sys.stderr).__name__, type(handler.stream).__name__]
    stderr.uninstall()
gate.set()
for thread in threads: thread.join()
print(json.dumps([said, same, ours, errors, [sys.stderr is old, handler.stream is old]]))
""",
    )
    assert same
    assert ours == ["NonBlockingStream"] * 2
    assert errors == []
    assert restored == [True, True]
    assert "other threads ran at install(): references to the old stream may block" in said[0]


def test_a_stream_that_was_initialised_again_stays_ours_while_other_threads_run(tmp_path):
    before, during, errors, after = held(
        tmp_path,
        """
stderr.install()
before = type(old.buffer).__name__
start()
for _ in range(200):
    stderr.uninstall()
    during = type(old.buffer).__name__
    stderr.install()
gate.set()
for thread in threads: thread.join()
while len(os.listdir("/proc/self/task")) > 1: time.sleep(0.01)
stderr.uninstall()
old.write("as ever\\n")
print(json.dumps([before, during, errors, type(old.buffer).__name__]))
""",
    )
    assert before == during == "_BinaryLayer"
    assert errors == []
    assert after == "BufferedWriter"


# What is said of it

INSTALLS = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
import resilient_wsgi
resilient_wsgi.install()
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.mark.servers
@pytest.mark.parametrize(("where", "expected"), [("app", ["1", "2"]), ("master and app", [])])
def test_what_was_taken_over_is_logged_once_by_the_number_that_everybody_knows(
    tmp_path, where, expected
):
    with read() as (log, reader):
        options = {"processes": 2, "hook_accepting": "rpc:resilient_wsgi_ready"}
        if where == "app":
            options = {"processes": 2, "shared_import": "json"}
        with uwsgi(tmp_path, INSTALLS, log, **options) as server:
            assert wait_until(
                lambda: len(server.workers()) == 2 and load.get(server.port, "/", 30).good, 20
            )
            old = server.workers()
            assert wait_until(server.heeds_signals, 30)
            os.kill(old[0], signal.SIGHUP)  # it is replaced by one that loads the app again
            assert wait_until(
                lambda: len(server.workers()) == 2 and old[0] not in server.workers(), 20
            )
            assert load.get(server.port, "/", 30).good
    assert re.findall(rb"descriptor (\d+) \(\w+\) can no longer block", reader.text) == [
        n.encode() for n in expected
    ]


# Sockets


@contextlib.contextmanager
def journal(rate=None):
    """Yield a socket to write to, as systemd gives one, its reader, and the environment that names
    it.
    """
    reading, writing = socket.socketpair()
    with writing:
        status = os.fstat(writing.fileno())
        reader = None if rate is None else Reader(reading.fileno(), rate)
        try:
            yield writing.fileno(), reader, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        finally:
            if reader is not None:
                writing.close()
                reader.join()
            reading.close()


LOGS = """
import sys
def application(environ, start_response):
    sys.stderr.write("y" * 200 + "\\n")
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.mark.servers
@pytest.mark.parametrize("lazy", [True, False], ids=["lazy-apps", "prefork"])
def test_a_journal_that_does_not_read_stops_neither_workers_nor_master(tmp_path, lazy):
    with journal() as (log, _, env):
        options = {"disable_logging": False, "lazy_apps": lazy, "processes": 2, "threads": 2}
        with uwsgi(tmp_path, LOGS, log, env=env, **options) as server:
            answers = load.closed_loop(server.port, "/", count=1000, clients=8, patience=10)
            assert sum(answer.good for answer in answers) == 1000
            old = server.workers()
            server.signal(signal.SIGHUP)
            assert wait_until(
                lambda: len(server.workers()) == 2 and not set(old) & set(server.workers()), 30
            )
            assert load.get(server.port, "/", 10).good
            assert os.get_blocking(log)


@pytest.mark.servers
def test_a_socket_that_may_be_shared_is_left_as_it_is_and_what_can_block_is_reported_with_the_remedy(
    tmp_path,
):
    with journal(rate=0) as (log, reader, _):
        with uwsgi(tmp_path, LOGS, log) as server:
            assert load.get(server.port, "/").good
        assert not descriptors.has_send_timeout(log)
        (line,) = [line for line in reader.text.splitlines() if b"can block" in line]
    assert re.match(
        rb"[\d-]{10} [\d:]{8} WARNING resilient_wsgi\.stderr: \[RW403\] what uWSGI itself", line
    )
    assert b"descriptor 2 (socket)" in line
    assert b"`resilient-wsgi exec --`" in line
    assert b"RESILIENT_WSGI_STDERR_TAKE_OVER=true" in line


@pytest.mark.servers
def test_ready_and_unstick_see_workers_that_are_stuck_in_a_socket(tmp_path, capsys):
    with journal() as (log, _, _):
        options = {
            "disable_logging": False,
            "processes": 2,
            "hook_accepting": "rpc:resilient_wsgi_ready",
        }
        with uwsgi(tmp_path, LOGS, log, **options) as server:
            assert wait_until(lambda: main(["ready", str(server.pid)]) == 0, 20)
            capsys.readouterr()
            load.closed_loop(
                server.port,
                "/",
                count=1000,
                clients=4,
                patience=1,
                give_up=lambda got: not got[-1].good,
            )
            assert wait_until(lambda: main(["ready", str(server.pid)]) == 1, 20)
            assert "its log is full, and a thread is stuck writing it" in capsys.readouterr().out
            assert main(["unstick", str(server.pid)]) == 1
            assert "is full" in capsys.readouterr().out


STUCK = "import os, threading\nos.fork() and os.wait()\nwhile True: os.write(2, b'x' * 1000)"


def test_unstick_sees_a_socket_and_says_who_should_read_it(capsys):
    reading, writing = socket.socketpair()
    with reading, writing:
        process = subprocess.Popen([sys.executable, "-c", STUCK], stderr=writing.fileno())
        try:
            assert wait_until(lambda: pipes.full_logs(process.pid), 10)
            assert main(["unstick", str(process.pid)]) == 1
        finally:
            for pid in reversed(pipes.tree(process.pid)):
                os.kill(pid, signal.SIGKILL)
            process.wait()
        said = capsys.readouterr().out
    assert re.search(r"socket:\[\d+\] is full", said)
    assert f"{os.getpid()} (" in said
    assert "restart it" in said


# unstick

UNSTICK = [sys.executable, "-m", "resilient_wsgi", "unstick"]


def test_unstick_of_another_users_process_ends_with_2_and_says_why():
    if os.geteuid():
        pytest.skip("needs root, to become another user")
    # once as root, for another user may not read this Python
    look = f"main(['unstick', '{os.getpid()}'])"
    code = f"import os, sys; from resilient_wsgi.cli.main import main; {look}; os.setuid(65534); sys.exit({look})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert done.stdout.count("is stuck") == 1
    assert f"no permission to look at process {os.getpid()}" in done.stderr


def test_unstick_takes_a_pidfile_and_names_what_it_has_looked_at(tmp_path):
    process = subprocess.Popen(["sleep", "60"])
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    try:
        done = subprocess.run(
            [*UNSTICK, f"--pidfile={tmp_path / 'pid'}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        process.kill()
        process.wait()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"no thread of process {process.pid} (sleep) and its 0 descendants is stuck"
    )


def test_unstick_into_a_closed_pipe_keeps_its_exit_code():
    line = f"{{ {' '.join(UNSTICK)} {os.getpid()}; echo $? >&2; }} | true"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == "0\n"
