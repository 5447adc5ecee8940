"""The soft timeout: in processes of their own, because it takes a signal."""

from __future__ import annotations

import signal

from resilient_wsgi.request import stack_dumps
from resilient_wsgi.request.last_resort import SoftTimeout
from tests.unit.request.process import python

BEGIN = """
import os, socket, sys, threading, time
from resilient_wsgi.errors import RequestTimedOut
from resilient_wsgi.request import DeadlineMiddleware
from resilient_wsgi.request.stack_dumps import number
from resilient_wsgi.request.running import running
from resilient_wsgi.request.last_resort import SoftTimeout

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


def interrupt_all(every):
    # again and again, until the event that is returned is set
    over = threading.Event()
    def run():
        while not over.wait(every):
            for thread, request in running.requests():
                soft.interrupt(thread, request)
    threading.Thread(target=run, daemon=True, name="watchdog").start()
    return over


def ask(app):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    return list(DeadlineMiddleware(app, 5.0, soft=True)(environ, lambda s, *a: said.append(s)))
"""


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
    assert python(BEGIN + code) == (0, "['503 Service Unavailable'] True\n", "")


def test_an_app_may_catch_it_and_answer_itself():
    code = """
def app(environ, start_response):
    try:
        time.sleep(10)
    except RequestTimedOut as error:
        return [type(error).__name__.encode()]

thread = interrupt()
print(ask(app))
thread.join()
"""
    assert python(BEGIN + code) == (0, "[b'RequestTimedOut']\n", "")


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
    assert python(BEGIN + code) == (0, "[b'unharmed']\nalive\n", "")


def test_it_is_raised_once_so_that_the_answer_to_it_is_not_interrupted():
    """Neither ours nor that of an app that has caught it: both go through code of the server's,
    written in Python.
    """
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
        except RequestTimedOut:
            start_response("500 Caught", [])
            return []
    time.sleep(10)

over = interrupt_all(0.05)
wrapped = DeadlineMiddleware(app, 5.0, soft=True)
for path in ("/", "/catches"):
    wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": path}, answering)
over.set()
print(said)
"""
    assert python(BEGIN + code) == (0, "['503 Service Unavailable', '500 Caught']\n", "")


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
    except RequestTimedOut:
        yield b"b"

over = interrupt_all(0.05)
events.subscribe(busy)
body = DeadlineMiddleware(app, 5.0, soft=True)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, busy)
for piece in body:
    busy()
    said.append(piece)
body.close()
over.set()
print(said)
"""
    assert python(BEGIN + code) == (0, "['done', 'done', b'a', 'done', b'b']\n", "")


def test_a_thousand_soft_timeouts_leave_nothing_behind():
    """Sent at any moment, so that many meet code of ours, which is not interrupted."""
    code = """
from resilient_wsgi import deadline

sys.setswitchinterval(0.0001)
def app(environ, start_response):
    begin = time.monotonic()
    while time.monotonic() < begin + 0.0005:
        pass
    return [b"ok"]

over = interrupt_all(0.0002)
while len(said) < 1000:
    ask(app)
    assert deadline.current() is None
    assert running.requests() == []
over.set()
[thread.join() for thread in threading.enumerate() if thread.name == "watchdog"]
print(set(said), threading.active_count(), len(os.listdir("/proc/self/fd")))
"""
    code_, out, error = python(BEGIN + code)
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
    assert python(BEGIN + code) == (0, "Unavailable\n", "")


def test_closing_restores_what_handled_the_signal_before():
    signum = stack_dumps.number("SIGRTMIN+12")
    before = signal.getsignal(signum)
    soft = SoftTimeout(signum)
    assert signal.getsignal(signum) != before
    soft.close()
    assert signal.getsignal(signum) == before
