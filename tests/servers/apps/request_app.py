"""The app of the server tests: what a request does stands in its path."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time

import resilient_wsgi
from resilient_wsgi import deadline, events, request
from tests.servers.apps.run_as import run_as

logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
silent = socket.create_server(("127.0.0.1", 0))


def hello():
    return b"hello"


def sleep(seconds):
    time.sleep(float(seconds))
    return b"slept"


def hang():
    """Wait for an upstream that does not answer, in a socket that the watchdog may shut down."""
    with socket.create_connection(silent.getsockname()) as sock:
        end = lambda: sock.shutdown(socket.SHUT_RDWR)  # noqa: E731
        with deadline.interruptible(end, "silent.example (headers)") as wait:
            sock.recv(1)
        return b"interrupted" if wait.interrupted else b"?"


def recv():
    """Wait in a socket that nobody knows of."""
    with socket.create_connection(silent.getsockname()) as sock:
        sock.recv(1)
    return b"?"


def hold_the_gil():
    re.match(r"(a+)+$", "a" * 40 + "b")
    return b"?"


def block_in_write():
    _, writing = os.pipe()
    while True:
        os.write(writing, b"x" * 4096)


def eat_memory():
    eaten = []
    while True:
        eaten.append(b"x" * 1_000_000)
        time.sleep(0.005)  # so that the watchdog sees it run


def pieces(count):
    return (b"x" * 1_000_000 for _ in range(int(count)))


def gone():
    print("the app runs", file=sys.stderr, flush=True)
    until = time.monotonic() + 10
    while not request.client_gone() and time.monotonic() < until:
        time.sleep(0.02)
    print("the app saw its client leave", file=sys.stderr, flush=True)
    return b""


def start_sleep():
    """Start a program that has nothing of ours but what it inherits."""
    return str(subprocess.Popen(["sleep", "60"]).pid).encode()


def pid():
    return str(os.getpid()).encode()


def threads():
    return ",".join(sorted(thread.name for thread in threading.enumerate())).encode()


def counts():
    return repr(events.counts()).encode()


def app(environ, start_response):
    name, _, argument = environ["PATH_INFO"].strip("/").partition("/")
    what = globals()[name.replace("-", "_") or "hello"]
    answer = what(argument) if argument else what()
    if not isinstance(answer, bytes):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return answer
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))])
    return [answer]


def status():
    return {each.name: each.means for each in installation.status()}["request"][-1].encode()


run_as()


installation = resilient_wsgi.install()
application = resilient_wsgi.wrap(app)
