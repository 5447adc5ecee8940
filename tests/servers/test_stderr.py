"""uWSGI whose standard error is not read: plain it is stuck for good, with one line in uwsgi.ini nobody notices."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lab import load, procfs
from lab.processes import Gunicorn, Server, wait_until
from lab.sampler import blocked_threads

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
LINE = re.compile(rb"^line \d+ \d{9} \.+$", re.MULTILINE)
NOTICE = re.compile(rb"^resilient_wsgi: (\d+) lines", re.MULTILINE)
REQUESTS = 3000
CONFIGURATIONS = {
    "prefork": {},
    "lazy-apps": {"lazy-apps": True},
    "threads": {"threads": 8},
    "log-master": {"log-master": True},
    "threaded-logger": {"log-master": True, "threaded-logger": True},
}


class Reader:
    """Who should read the log: does not (`stalled`), is gone (`closed`), reads 4 KiB/s (`slow`)."""

    def __init__(self, manner):
        self.manner = manner
        self.fd, self.write_end = os.pipe()
        os.set_blocking(self.fd, False)
        self.text = b""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_slowly)

    def begin(self):
        """Do so from now on: the server has started."""
        os.close(self.write_end)
        if self.manner == "closed":
            self.end()
        if self.manner == "slow":
            self._thread.start()

    def _read_slowly(self):
        while not self._over.wait(0.5):
            self.read(2048)

    def read(self, size=1 << 20):
        """Read what is there."""
        with contextlib.suppress(BlockingIOError):
            while size > 0:
                chunk = os.read(self.fd, size)
                if not chunk:
                    break
                self.text += chunk
                size -= len(chunk)

    def come_back(self):
        """Read all that is there, from now on."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.read()

    def end(self):
        """Read no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


SHIM = """
import argparse, sys
from resilient_wsgi.stderr import shim
parser = argparse.ArgumentParser()
shim.add_arguments(parser)
sys.exit(shim.run(parser.parse_args(sys.argv[1:])))
"""


class ShimmedServer(Server):
    def command(self):
        return [sys.executable, "-c", SHIM, "--", *super().command()]


class ShimmedGunicorn(Gunicorn):
    def command(self):
        return [sys.executable, "-c", SHIM, "--", *super().command()]


def can_run_as_nobody():
    """Say whether the user `nobody` may run this Python, whose home may be closed to others."""
    if os.geteuid():
        return False
    try:
        done = subprocess.run(
            [sys.executable, "-c", ""], user="nobody", cwd="/", stderr=subprocess.DEVNULL, timeout=30, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


@contextlib.contextmanager
def gunicorn(manner, application, kind=Gunicorn):
    reader = Reader(manner)
    arguments = ["--workers=2", "--access-logfile=-", "--graceful-timeout=5"]
    try:
        with kind(application, arguments, cwd=FOLDER, env={"PYTHONPATH": str(ROOT)}, stderr=reader.write_end) as server:
            assert wait_until(lambda: load.get(server.port, "/").good, 30.0)
            reader.begin()
            yield server
    finally:
        reader.end()


@contextlib.contextmanager
def serving(manner, *, guarded=True, kind=Server, env=None, **options):
    reader = Reader(manner)
    chosen = {"master": True, "processes": 2, "die-on-term": True, "wsgi-file": str(FOLDER / "stderr_app.py")}
    chosen.update({name.replace("_", "-"): value for name, value in options.items()})
    if guarded:
        chosen["shared-import"] = "resilient_wsgi.uwsgi"
    try:
        with kind(chosen, stderr=reader.write_end, env=env) as server:
            reader.begin()
            yield server, reader
    finally:
        reader.end()


def ask(server, count=REQUESTS):
    """Send requests one after the other from 8 clients, and give up when nobody answers any more."""
    return load.closed_loop(
        server.port,
        "/",
        count=count,
        clients=8,
        patience=5.0,
        give_up=lambda answers: len(answers) >= 8 and not any(answer.good for answer in answers[-8:]),
    )


def good(answers):
    return sum(answer.good for answer in answers)


def cpu_seconds(server):
    return sum(map(procfs.cpu_seconds, [server.pid, *server.workers()]))


def fresh_workers(server, old):
    now = server.workers()
    return len(now) >= len(old) and not set(old) & set(now)


def test_plain_is_stuck_for_good_after_some_hundred_lines():
    with serving("stalled", guarded=False) as (server, _):
        assert 20 < good(ask(server)) < 600
        assert not any(load.get(server.port, "/", patience=2.0).good for _ in range(2))
        assert blocked_threads(server.workers()) == 2


def test_plain_without_a_reader_burns_a_processor():
    with serving("closed", guarded=False) as (server, _):
        assert good(ask(server)) < 100
        before = cpu_seconds(server)
        assert wait_until(lambda: cpu_seconds(server) > before + 1.0, 20.0)


@pytest.mark.parametrize("manner", ["stalled", "closed", "slow"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_request_is_answered_and_the_master_obeys(name, manner):
    with serving(manner, **CONFIGURATIONS[name]) as (server, _):
        check(server)


@pytest.mark.parametrize("manner", ["stalled", "closed"])
@pytest.mark.parametrize("name", ["prefork", "log-master"])
def test_the_exec_shim_changes_nothing_of_that(name, manner):
    with serving(manner, kind=ShimmedServer, **CONFIGURATIONS[name]) as (server, _):
        check(server)


@pytest.mark.skipif(not can_run_as_nobody(), reason="takes root, and a Python that others may run")
@pytest.mark.parametrize("manner", ["stalled", "closed"])
def test_the_exec_shim_covers_workers_that_have_changed_their_user(manner):
    with serving(manner, kind=ShimmedServer, uid="nobody") as (server, _):
        check(server)


@pytest.mark.skipif(not can_run_as_nobody(), reason="takes root, and a Python that others may run")
def test_take_over_on_covers_workers_that_have_changed_their_user():
    with serving("stalled", env={"RESILIENT_WSGI_STDERR_TAKE_OVER": "on"}, uid="nobody") as (server, _):
        check(server)


def check(server):
    """All that must hold whatever becomes of the log."""
    assert good(ask(server)) == REQUESTS
    old = server.workers()
    before = cpu_seconds(server)
    assert not wait_until(lambda: cpu_seconds(server) > before + 0.5, 1.0), "busy although nobody asks"
    server.directory.chmod(0o755)  # who has changed the user reads uwsgi.ini again
    server.signal(signal.SIGHUP)
    assert wait_until(lambda: fresh_workers(server, old), 30.0)
    assert load.get(server.port, "/").good
    server.stop(signal.SIGTERM)


@pytest.mark.parametrize("name", ["prefork", "log-master"])
def test_harakiri_replaces_a_worker_while_nobody_reads(name):
    with serving("stalled", harakiri=2, **CONFIGURATIONS[name]) as (server, _):
        assert good(ask(server)) == REQUESTS
        old = server.workers()
        assert not load.get(server.port, "/hang", patience=15.0).good
        assert wait_until(
            lambda: len(set(server.workers()) - set(old)) == 1 and len(server.workers()) == len(old), 15.0
        )
        assert load.get(server.port, "/").good


@pytest.mark.parametrize("manner", ["stalled", "slow"])
@pytest.mark.parametrize("name", ["prefork", "lazy-apps", "threads"])
def test_when_the_reader_comes_back_each_line_has_been_read_or_is_said_to_be_dropped(name, manner):
    with serving(manner, **CONFIGURATIONS[name]) as (server, reader):
        asked = REQUESTS
        assert good(ask(server)) == REQUESTS
        reader.come_back()

        def accounted():
            nonlocal asked
            asked += good(load.burst(server.port, "/", 4, 5.0))
            reader.read()
            return len(LINE.findall(reader.text)) + sum(map(int, NOTICE.findall(reader.text))) == asked

        assert wait_until(accounted, 30.0)
        assert NOTICE.findall(reader.text)


def test_a_log_file_that_is_a_fifo_which_nobody_reads_is_taken_over_as_well(tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with serving("stalled", logto=fifo) as (server, _):
            check(server)
    finally:
        os.close(reading)


def test_a_log_file_is_written_as_ever(tmp_path):
    path = tmp_path / "log"
    with serving("stalled", logto=str(path)) as (server, _):
        check(server)
    assert len(LINE.findall(path.read_bytes())) == REQUESTS + 1


def test_gunicorn_answers_with_the_library_installed_by_the_app():
    with gunicorn("stalled", "stderr_app:installed") as server:
        assert good(ask(server)) == REQUESTS


@pytest.mark.parametrize("manner", ["stalled", "closed"])
def test_gunicorn_behind_the_exec_shim_answers_and_obeys(manner):
    with gunicorn(manner, "stderr_app:installed", kind=ShimmedGunicorn) as server:
        check(server)


def test_plain_gunicorn_is_stuck():
    with gunicorn("stalled", "stderr_app:application") as server:
        assert good(ask(server)) < 1000
