"""uWSGI whose standard error is not read: plain it is stuck for good, with one line in uwsgi.ini nobody notices."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from lab import load, procfs
from lab.processes import Server, wait_until
from lab.sampler import blocked_threads

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

FOLDER = Path(__file__).parent
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
            os.close(self.fd)
        if self.manner == "slow":
            self._thread.start()

    def _read_slowly(self):
        while not self._over.wait(0.5):
            self.read(2048)

    def read(self, size=1 << 20):
        """Read what is there."""
        with contextlib.suppress(BlockingIOError):
            self.text += os.read(self.fd, size)

    def come_back(self):
        """Read all that is there, from now on."""
        self.end()
        self.read()

    def end(self):
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()


@contextlib.contextmanager
def serving(manner, *, guarded=True, env=None, **options):
    reader = Reader(manner)
    chosen = {"master": True, "processes": 2, "die-on-term": True, "wsgi-file": str(FOLDER / "stderr_app.py")}
    chosen.update({name.replace("_", "-"): value for name, value in options.items()})
    if guarded:
        chosen["shared-import"] = "resilient_wsgi.uwsgi"
    try:
        with Server(chosen, stderr=reader.write_end, env=env) as server:
            reader.begin()
            yield server, reader
    finally:
        reader.end()
        with contextlib.suppress(OSError):
            os.close(reader.fd)


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
        before = procfs.cpu_seconds(server.pid) + sum(map(procfs.cpu_seconds, server.workers()))
        assert wait_until(
            lambda: procfs.cpu_seconds(server.pid) + sum(map(procfs.cpu_seconds, server.workers())) > before + 1.0, 20.0
        )


@pytest.mark.parametrize("manner", ["stalled", "closed", "slow"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_request_is_answered_and_the_master_obeys(name, manner):
    with serving(manner, **CONFIGURATIONS[name]) as (server, _):
        assert good(ask(server)) == REQUESTS
        old = server.workers()
        server.signal(signal.SIGHUP)
        assert wait_until(lambda: fresh_workers(server, old), 30.0)
        assert load.get(server.port, "/").good
        server.stop(signal.SIGTERM)
