from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from resilient_wsgi import servers, threads
from resilient_wsgi.servers import Identity
from resilient_wsgi.servers.base import PROCESS, Server


class FakeServer(Server):
    """A server of which the test says who this process is, and when it starts and ends."""

    def __init__(self):
        super().__init__()
        self.role, self.number, self.master_pid = PROCESS, 0, 0

    def identity(self):
        return Identity(self.role, self.number, os.getpid(), self.master_pid, self.number)


@pytest.fixture(autouse=True)
def server():
    """Each test in a process that no server runs, with nothing registered; afterwards nothing runs
    any more.
    """
    before = set(threading.enumerate())
    fake = FakeServer()
    servers.use(fake)
    threads.registry.reset()
    yield fake
    threads.uninstall()
    threads.registry.stop("the test ends", time.monotonic() + 5)
    threads.registry.reset()
    servers.use(None)
    left = [
        t
        for t in threading.enumerate()
        if t not in before and not isinstance(t, threading._DummyThread)
    ]
    for thread in left:
        thread.join(5)
    assert not [t for t in left if t.is_alive()]


@pytest.fixture
def happened(seen):
    """The events of the test."""
    return seen


@pytest.fixture
def eventually():
    def wait(condition, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not come true"
            time.sleep(0.005)

    return wait


@pytest.fixture
def child():
    """Run code in a Python of its own and return the finished process; it is killed after `timeout`
    seconds.
    """

    def run(code, timeout=30.0, **env):
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            capture_output=True, text=True, timeout=timeout, env={**os.environ, **env}, check=False,
        )  # fmt: skip

    return run
