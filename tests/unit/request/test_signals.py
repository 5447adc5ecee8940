"""The guard against a held GIL, and stacks at a signal: in processes of their own, because they
take signals and end.
"""

from __future__ import annotations

import os

import pytest

from resilient_wsgi.errors import Unavailable
from resilient_wsgi.host import procfs
from resilient_wsgi.request import stack_dumps
from resilient_wsgi.request.stacks_on_demand import usable
from resilient_wsgi.servers import Server
from resilient_wsgi.servers.facts import Configuration
from resilient_wsgi.shm import instance
from tests.unit.request.process import python


def test_a_signal_that_this_system_does_not_have_is_said():
    with pytest.raises(
        Unavailable, match=r"this system has no SIGRTMIN\+99: SIGRTMAX is SIGRTMIN\+\d+"
    ):
        stack_dumps.number("SIGRTMIN+99")


def test_a_signal_that_the_server_has_is_refused_by_name():
    class Busy(Configuration):
        def uses_signal(self, number):
            return "harakiri-graceful-signal"

    server = Server()
    server.configuration = Busy()
    with pytest.raises(
        Unavailable,
        match=r"SIGRTMIN\+10 is not free: the server has it for harakiri-graceful-signal",
    ):
        usable("SIGRTMIN+10", server)


HEARTBEAT = """
import os, time
from resilient_wsgi.request.last_resort import GilWatchdog
heartbeat = GilWatchdog(0.5, 2)
"""


def test_a_process_in_which_no_python_can_run_writes_its_stacks_and_ends():
    code = HEARTBEAT + "import re\nheartbeat.beat(0.0)\nre.match(r'(a+)+$', 'a' * 40 + 'b')\n"
    code_, _, error = python(code)
    assert code_ == 1
    assert "Timeout (0:00:00.500000)!" in error
    assert '"<string>"' in error


def test_one_in_which_it_can_goes_on_and_a_timer_that_is_stopped_does_nothing():
    code = (
        HEARTBEAT
        + "for n in range(10):\n    heartbeat.beat(n / 10)\n    time.sleep(0.1)\n"
        + "heartbeat.stop()\ntime.sleep(0.8)\n"
    )
    assert python(code) == (0, "", "")


def test_the_timer_is_off_in_a_fork_and_can_be_armed_there():
    code = (
        HEARTBEAT
        + """
heartbeat.beat(0.0)
child = os.fork()
if child == 0:
    again = GilWatchdog(30, 2)
    again.beat(0.0)
    time.sleep(0.8)
    again.stop()
    os._exit(7)
heartbeat.beat(0.0)
heartbeat.stop()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert python(code) == (0, "7\n", "")


def test_stacks_are_written_at_the_signal_into_a_file_in_the_private_directory():
    directory = instance.directory()
    handler = stack_dumps.OnSignal(stack_dumps.number("SIGRTMIN+12"), directory)
    try:
        name, signum = stack_dumps.file_of(directory.names(), os.getpid())
        assert procfs.handles_signal(os.getpid(), signum)
        os.kill(os.getpid(), signum)
        with open(directory.open(name, os.O_RDONLY), encoding="utf-8") as file:
            assert "test_stacks_are_written_at_the_signal" in file.read()
    finally:
        handler.close()
    assert stack_dumps.file_of(directory.names(), os.getpid()) is None
    assert not procfs.handles_signal(os.getpid(), signum)
