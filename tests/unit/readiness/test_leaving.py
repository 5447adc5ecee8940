"""A worker without an app says so and leaves: all that it wrote is written, and memory that the
load used up cannot keep it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LEFT, FUSE = 29 << 8, 14  # as os.waitpid says it
WORKER = """
import os, resource, signal, sys
from resilient_wsgi import servers
from resilient_wsgi.readiness.last_error import LAST_ERROR, RESERVE_BYTES
from resilient_wsgi.readiness.states import LOADING
from resilient_wsgi.readiness.uwsgi_worker import Worker
from resilient_wsgi.servers.base import WORKER, Identity, Server
from resilient_wsgi.servers.facts import Configuration
from resilient_wsgi.settings.options import Readiness

class Lazy(Configuration):
    def loads_in_worker(self):
        return True

class Failing:
    def __getattr__(self, name):
        return lambda *_: (lambda: None)
    def load_problem(self):
        return "no app was loaded"
    def respawns(self):
        return True

class OneWorker(Server):
    configuration = Lazy()
    supervision = Failing()
    def identity(self):
        return Identity(WORKER, 1, os.getpid(), os.getppid(), 1)
    def set_kill_timer(self, seconds):  # that of uWSGI's master kills from outside
        signal.setitimer(signal.ITIMER_REAL, seconds and 0.5)
        return True
    def exit(self):
        os._exit(29)

LAST_ERROR.watch()
servers.use(OneWorker())
from tests.scoreboards import in_memory
worker = Worker(servers.detect(), in_memory(2), Readiness(startup_timeout=None))
worker.start()
"""
STARVED = """
def starve():
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), resource.RLIM_INFINITY))
    hoard = None
    for piece in (1 << 20, 1 << 16, 1 << 12, *range(1024, 0, -8)):
        try:
            while True:
                hoard = (hoard, bytes(piece))
        except MemoryError:
            pass
    return hoard

hoard = starve()
sys.excepthook(MemoryError, MemoryError(), None)  # as uWSGI does when the load has raised it
worker.loaded()
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_found_no_room_in_the_log_yet_is_written_before_the_worker_leaves():
    code = f"""{WORKER}
import io
class Kept(io.StringIO):
    def drain(self, seconds):
        os.write(1, self.getvalue().encode())
sys.stderr = Kept()
worker.loaded()
"""
    done = run(code)
    assert done.returncode == LEFT >> 8
    assert "has no app (no app was loaded)" in done.stdout


def test_a_failure_that_a_worker_could_not_report_to_the_end_is_counted_by_the_next_one():
    code = f"""{WORKER}
from resilient_wsgi import events
child = os.fork()
if child == 0:
    events.subscribe(lambda _event: os._exit(1))  # killed, in the middle
    worker.loaded()
os.waitpid(child, 0)
worker._pause = lambda row: print(row.failures, row.error, flush=True)
worker.start()
"""
    done = run(code)
    assert done.stdout.startswith(
        "1 its load was killed: a crash, out of memory, or a hang that was ended"
    )


@pytest.mark.parametrize("kept", [True, False])
def test_a_worker_whose_load_has_taken_all_memory_leaves_and_what_was_kept_is_there_to_tell_of_it(
    kept,
):
    """Who reports errors needs some: here 200 pieces of 4 KiB."""
    code = f"""{WORKER}
from resilient_wsgi import events
def report(event):
    pieces = [bytes(4096) for _ in range(200)]
    os.write(1, b"reported")
events.subscribe(report)
if not {kept}:
    LAST_ERROR.release_reserve()
{STARVED}
"""
    done = run(code)
    assert done.returncode == LEFT >> 8
    assert done.stdout == ("reported" if kept else "")
    assert not kept or "worker 1 has no app (MemoryError), attempt 1; next try in" in done.stderr


def test_where_nothing_can_be_put_aside_the_load_goes_on():
    code = f"""{WORKER.replace("worker.start()", "")}
with open("/proc/self/statm") as statm:
    size = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + RESERVE_BYTES // 2, resource.RLIM_INFINITY))
worker.start()
print("loads", flush=True)
os._exit(0)
"""
    done = run(code)
    assert (done.stdout, done.stderr, done.returncode) == ("loads\n", "", 0)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before 3.11 a call itself takes memory")
def test_from_whichever_allocation_on_all_fail_the_worker_leaves_or_is_ended_and_that_is_counted():
    pytest.importorskip("_testcapi")
    code = f"""{WORKER}
import _testcapi
worker._board.header.ever_served = 1
for first in (*range(60), *range(60, 3000, 37)):
    row = worker._board.worker(1)
    row.failures, row.state = 0, LOADING
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _testcapi.set_nomemory(first, 0)
        worker.loaded()
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    if status not in ({LEFT}, {FUSE}) or not (row.failures or row.state == LOADING):
        print(first, status, row)
"""
    assert run(code).stdout == ""
