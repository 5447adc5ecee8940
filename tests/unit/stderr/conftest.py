"""Real pipes, of which nobody reads unless the test does."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import time

import pytest


class Pipe:
    """Both ends of a pipe; `read` returns what is in it now."""

    def __init__(self):
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def read(self):
        text = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                chunk = os.read(self.read_end, 1 << 20)
                if not chunk:
                    break
                text += chunk
        return text

    def fill(self):
        """Leave no room for a single byte, without changing the description's flags for good."""
        os.set_blocking(self.write_end, False)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.write_end, b"\0" * size)
        os.set_blocking(self.write_end, True)

    def close_reader(self):
        os.close(self.read_end)
        self.read_end = -1

    def close(self):
        for fd in (self.read_end, self.write_end):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def wait_until():
    def wait(condition, seconds=10.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "did not come true in time"
            time.sleep(0.005)

    return wait


START = """
import fcntl, json, logging, os, subprocess, sys
from resilient_wsgi import servers, stderr
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.settings.options import Stderr
from resilient_wsgi.stderr import NonBlockingStream, take_over
from resilient_wsgi.servers.plain import PlainServer
from resilient_wsgi.core.system import System

class Pretended(PlainServer):
    name = "gunicorn"

servers.use(Pretended())

def say(**what):
    with open(os.environ["ANSWER"], "w") as file:
        json.dump(what, file, default=repr)
"""


@pytest.fixture
def child(tmp_path):
    """Run code in a fresh interpreter whose standard output and error are as given; return what it
    said.
    """

    def run(code, *, stdout, stderr, timeout=60):
        answer = tmp_path / "answer"
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", START + textwrap.dedent(code)],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "ANSWER": str(answer)},
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0
        return json.loads(answer.read_text())

    return run
