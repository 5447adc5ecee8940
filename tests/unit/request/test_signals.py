"""The soft timeout and the guard against a held GIL: in processes of their own, because they take signals and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resilient_wsgi.errors import Unavailable
from resilient_wsgi.request import on_signal
from resilient_wsgi.request.process import usable
from resilient_wsgi.request.soft import SoftTimeout
from resilient_wsgi.servers import Server

ROOT = Path(__file__).parents[3]

BEGIN = """
import os, socket, sys, threading, time
from resilient_wsgi.errors import RequestTimedOut
from resilient_wsgi.request import DeadlineMiddleware
from resilient_wsgi.request.on_signal import number
from resilient_wsgi.request.running import running
from resilient_wsgi.request.soft import SoftTimeout

soft = SoftTimeout(number("SIGRTMIN+11"))
me = threading.get_ident()
said = []


def interrupt(after=0.1):
    def run():
        time.sleep(after)
        for thread, request in running.requests():
            soft.interrupt(thread, request)
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def ask(app):
    return list(DeadlineMiddleware(app, 5.0, soft=True)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda s, *a: said.append(s)))
"""


def python(code):
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process (pid", "-c", BEGIN + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_soft_timeout_ends_a_wait_that_knows_of_no_deadline_with_503():
    code = """
def app(environ, start_response):
    a, b = socket.socketpair()
    with a, b:
        a.recv(1)

thread = interrupt()
begin = time.monotonic()
ask(app)
thread.join()
print(said, time.monotonic() - begin < 3)
"""
    assert python(code) == (0, "['503 Service Unavailable'] True\n", "")


def test_an_app_may_catch_it_and_answer_itself():
    code = """
def app(environ, start_response):
    try:
        time.sleep(10)
    except TimeoutError as error:
        return [type(error).__name__.encode()]

thread = interrupt()
print(ask(app))
thread.join()
"""
    assert python(code) == (0, "[b'RequestTimedOut']\n", "")


def test_a_request_that_has_ended_meanwhile_and_the_next_one_are_left_alone():
    code = """
late = []

def app(environ, start_response):
    late.extend(running.requests())
    return []

ask(app)
(thread, request), = late
def next_app(environ, start_response):
    soft.interrupt(thread, request)
    time.sleep(0.1)
    return [b"unharmed"]
print(ask(next_app))
soft.interrupt(thread, request)
time.sleep(0.1)
print("alive")
"""
    assert python(code) == (0, "[b'unharmed']\nalive\n", "")


def test_it_is_raised_once_so_that_the_answer_to_it_is_not_interrupted():
    """Neither ours nor that of an app that has caught it: both go through code of the server's, written in Python."""
    code = """
def answering(status, headers, error=None):
    begin = time.monotonic()
    while time.monotonic() < begin + 0.5:
        pass
    said.append(status)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/catches":
        try:
            time.sleep(10)
        except TimeoutError:
            start_response("500 Caught", [])
            return []
    time.sleep(10)

over = threading.Event()
def watchdog():
    while not over.wait(0.05):
        for thread, request in running.requests():
            soft.interrupt(thread, request)

thread = threading.Thread(target=watchdog, daemon=True)
thread.start()
wrapped = DeadlineMiddleware(app, 5.0, soft=True)
for path in ("/", "/catches"):
    wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": path}, answering)
over.set()
thread.join()
print(said)
"""
    assert python(code) == (0, "['503 Service Unavailable', '500 Caught']\n", "")


def test_it_is_not_raised_in_the_server_s_code_nor_in_what_ours_calls():
    """Between two pieces of a response, and in a subscriber that one of our events calls."""
    code = """
from resilient_wsgi import events

def busy(*args):
    begin = time.monotonic()
    while time.monotonic() < begin + 0.3:
        pass
    said.append("done")

def app(environ, start_response):
    events.emit(events.ClientGone("GET", "/"))
    yield b"a"
    try:
        time.sleep(10)
    except TimeoutError:
        yield b"b"

over = threading.Event()
def watchdog():
    while not over.wait(0.05):
        for thread, request in running.requests():
            soft.interrupt(thread, request)

thread = threading.Thread(target=watchdog, daemon=True)
thread.start()
events.subscribe(busy)
body = DeadlineMiddleware(app, 5.0, soft=True)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, busy)
for piece in body:
    busy()
    said.append(piece)
body.close()
over.set()
thread.join()
print(said)
"""
    assert python(code) == (0, "['done', 'done', b'a', 'done', b'b']\n", "")


def test_a_thousand_soft_timeouts_leave_nothing_behind():
    """Sent at any moment, so that many meet code of ours, which is not interrupted."""
    code = """
from resilient_wsgi import deadline

sys.setswitchinterval(0.0001)
over = threading.Event()
def watchdog():
    while not over.is_set():
        for thread, request in running.requests():
            soft.interrupt(thread, request)
        time.sleep(0.0002)

def app(environ, start_response):
    begin = time.monotonic()
    while time.monotonic() < begin + 0.0005:
        pass
    return [b"ok"]

thread = threading.Thread(target=watchdog, daemon=True)
thread.start()
while len(said) < 1000:
    ask(app)
    assert deadline.current() is None
    assert running.requests() == []
over.set()
thread.join()
print(set(said), threading.active_count(), len(os.listdir("/proc/self/fd")))
"""
    code_, out, error = python(code)
    assert (code_, error) == (0, "")
    assert out.startswith("{'503 Service Unavailable'} 1 ")


def test_it_is_refused_in_another_thread_than_the_main_one():
    code = """
def run():
    try:
        SoftTimeout(number("SIGRTMIN+12"))
    except Exception as error:
        print(type(error).__name__)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    assert python(code) == (0, "Unavailable\n", "")


def test_closing_restores_what_handled_the_signal_before():
    signum = on_signal.number("SIGRTMIN+12")
    before = signal.getsignal(signum)
    soft = SoftTimeout(signum)
    assert signal.getsignal(signum) != before
    soft.close()
    assert signal.getsignal(signum) == before


def test_a_signal_that_this_system_does_not_have_is_said():
    with pytest.raises(Unavailable, match=r"this system has no SIGRTMIN\+99: SIGRTMAX is SIGRTMIN\+\d+"):
        on_signal.number("SIGRTMIN+99")


def test_a_signal_that_the_server_has_is_refused_by_name():
    class Busy(Server):
        def uses_signal(self, number):
            return "harakiri-graceful-signal"

    with pytest.raises(Unavailable, match=r"SIGRTMIN\+10 is not free: the server has it for harakiri-graceful-signal"):
        usable("SIGRTMIN+10", Busy())


HEARTBEAT = """
from resilient_wsgi.request.heartbeat import Heartbeat
heartbeat = Heartbeat(0.5, 2)
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
        + "for n in range(10):\n    heartbeat.beat(n / 10)\n    time.sleep(0.1)\nheartbeat.stop()\ntime.sleep(0.8)\n"
    )
    assert python(code) == (0, "", "")


def test_the_timer_is_off_in_a_fork_and_can_be_armed_there():
    code = (
        HEARTBEAT
        + """
heartbeat.beat(0.0)
child = os.fork()
if child == 0:
    again = Heartbeat(30, 2)
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


def test_stacks_are_written_at_the_signal_into_a_file_in_memory():
    handler = on_signal.OnSignal(on_signal.number("SIGRTMIN+12"))
    try:
        path, signum = on_signal.find(os.getpid())
        os.kill(os.getpid(), signum)
        with open(path, encoding="utf-8") as file:
            assert "test_stacks_are_written_at_the_signal" in file.read()
    finally:
        handler.close()
    assert on_signal.find(os.getpid()) is None
