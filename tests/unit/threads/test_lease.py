"""One process of many: the lease goes to another as soon as its holder is dead."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from resilient_wsgi.shm.lease import Lease
from resilient_wsgi.threads import registry, spawn, stop_event

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="abstract sockets are Linux's"
)
HOLDER = """
    import os, sys, time
    from resilient_wsgi import servers
    from resilient_wsgi.servers import Identity
    from resilient_wsgi.servers.base import WORKER, Server
    class Fake(Server):
        def identity(self):
            return Identity(WORKER, 1, os.getpid(), int(sys.argv[1]))
    servers.use(Fake())
    from resilient_wsgi.shm.lease import Lease
    lease = Lease()
    print(lease.acquire("job"), flush=True)
    if sys.argv[2:] == ["fork"] and os.fork() == 0:
        print("forked", flush=True)
        time.sleep(60)
    time.sleep(60)
"""


@pytest.fixture
def holder(server):
    """A process that holds the lease."""
    server.master_pid = os.getpid()
    running = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER), str(os.getpid()), *arguments],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        assert process.stdout.readline() == "True\n"
        return process

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):  # the test has ended it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_only_one_has_it_and_another_gets_it_when_its_holder_is_killed(holder):
    process, lease = holder(), Lease()
    assert not lease.acquire("job")
    process.kill()
    process.wait()
    assert lease.acquire("job")
    lease.release()


def test_having_it_is_having_it_again_and_giving_it_back_frees_it(server):
    one, other = Lease(), Lease()
    assert one.acquire("job")
    assert one.acquire("job")
    assert not other.acquire("job")
    one.release()
    assert other.acquire("job")
    other.release()


def test_jobs_of_other_names_and_other_instances_are_not_in_the_way(server):
    one, other, elsewhere = Lease(), Lease(), Lease()
    assert one.acquire("job")
    assert other.acquire("other job")
    server.master_pid = 1
    assert elsewhere.acquire("job")
    for lease in (one, other, elsewhere):
        lease.release()


def test_a_child_that_the_holder_forked_does_not_keep_it(holder):
    process = holder("fork")
    assert process.stdout.readline() == "forked\n"
    lease = Lease()
    process.kill()
    process.wait()
    assert lease.acquire("job")
    lease.release()


def test_a_long_name_is_no_error_and_differs_from_another(server):
    one, other = Lease(), Lease()
    assert one.acquire("x" * 300 + "1")
    assert other.acquire("x" * 300 + "2")
    one.release()
    other.release()


def test_a_thread_for_one_worker_waits_until_it_is_its_turn(holder, eventually):
    process, ran = holder(), []
    thread = spawn(lambda: ran.append(1), name="job", where="one")
    assert not ran
    process.kill()
    eventually(lambda: ran)
    thread.join(5)


def test_a_thread_that_waits_for_its_turn_obeys_the_stop(holder):
    holder()
    thread = spawn(stop_event.wait, name="job", where="one")
    registry["job"].stop()
    assert thread.join(5)
