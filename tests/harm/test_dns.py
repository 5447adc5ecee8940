"""DNS: a dead name delays nobody else, the app's own `getaddrinfo` is called where it was called,
forks see no thread.
"""

from __future__ import annotations

import _socket
import contextvars
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, uninstall
from resilient_wsgi.settings.options import Outbound
from tests.harm.clients import by_http_client, by_httpx, by_requests, by_urllib3, by_urllib_request
from tests.harm.upstream import answering

ROOT = Path(__file__).parents[2]
DEAD = [f"dead{i}.test" for i in range(12)]
TENANT = contextvars.ContextVar("tenant", default="")


@pytest.fixture(scope="module")
def port():
    with answering() as number:
        yield number


@pytest.fixture(autouse=True)
def _installed():
    install(Outbound(connect_timeout=1.5))
    yield
    uninstall()


@pytest.fixture
def dns(monkeypatch):
    """A resolver beneath Python's: `.test` names are this machine, dead ones are not answered
    before the test ends.
    """
    real, over = _socket.getaddrinfo, threading.Event()

    def getaddrinfo(host, *question):
        if host in DEAD:
            over.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1" if str(host).endswith(".test") else host, *question)

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    yield
    over.set()


CLIENTS = [by_http_client, by_urllib_request, by_urllib3, by_requests, by_httpx]
ALL = pytest.mark.parametrize("ask", CLIENTS)
TWO = pytest.mark.parametrize("ask", [by_http_client, by_httpx])  # the others connect as the first


def test_names_that_dns_does_not_answer_delay_only_those_who_ask_for_them(dns, port):
    def ask(name):
        began = time.monotonic()
        try:
            return name, by_requests(f"http://{name}:{port}/"), time.monotonic() - began
        except DeadlineExceeded:
            return name, None, time.monotonic() - began

    with ThreadPoolExecutor(len(DEAD) + 10) as pool:
        dead = [pool.submit(ask, name) for name in DEAD]
        time.sleep(0.1)
        healthy = [pool.submit(ask, f"healthy{i}.test") for i in range(10)]
        for done in healthy:
            _, answer, seconds = done.result()
            assert answer == b"ok"
            assert seconds < 1.2
        for done in dead:
            _, answer, seconds = done.result()
            assert answer is None
            assert 1.4 < seconds < 4


@ALL
def test_an_override_of_getaddrinfo_is_asked_in_the_thread_and_context_of_the_call(
    port, monkeypatch, ask
):
    asked, real = [], socket.getaddrinfo

    def pinned(host, *args, **kwargs):
        asked.append((host, threading.get_ident(), TENANT.get()))
        return real("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", pinned)
    token = TENANT.set("blue")
    try:
        assert ask(f"http://upstream.invalid:{port}/") == b"ok"
    finally:
        TENANT.reset(token)
    assert asked == [("upstream.invalid", threading.get_ident(), "blue")]


@TWO
def test_an_override_that_was_there_before_the_library_is_found_too(port, ask):
    done = subprocess.run([sys.executable, "-c", BEFORE, ask.__name__, str(port)], cwd=ROOT, text=True, timeout=60,
                          capture_output=True, check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == ("b'ok' True\n", "")


BEFORE = """
import socket, sys, threading
real, asked = socket.getaddrinfo, []
def pinned(host, *args, **kwargs):
    asked.append(threading.current_thread())
    return real("127.0.0.1", *args, **kwargs)
socket.getaddrinfo = pinned
import tests.harm.test_dns as t
t.install(t.Outbound())
answer = getattr(t, sys.argv[1])(f"http://upstream.invalid:{sys.argv[2]}/")
print(answer, asked == [threading.main_thread()])
"""


@TWO
def test_a_fork_after_a_call_by_name_finds_no_second_thread(port, ask):
    """In a process of its own, where the upstream's threads are not."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKS, ask.__name__, str(port)], cwd=ROOT, text=True,
                          timeout=60, capture_output=True, check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == ("8 calls, 8 forks\n", "")


FORKS = """
import os, socket, sys, warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tests.harm.test_dns as t
import _socket
real = _socket.getaddrinfo
_socket.getaddrinfo = lambda host, *args: real("127.0.0.1", *args)
t.install(t.Outbound())
for call in range(8):
    assert getattr(t, sys.argv[1])(f"http://some.test:{sys.argv[2]}/") == b"ok"
    assert os.listdir("/proc/self/task") == [str(os.getpid())] or sys.version_info < (3, 12)
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
print("8 calls, 8 forks")
"""


def test_localhost_and_addresses_take_no_thread(port, monkeypatch):
    def no_thread(*args):
        raise AssertionError

    monkeypatch.setattr("_thread.start_new_thread", no_thread)
    for host in ("127.0.0.1", "localhost"):
        assert by_urllib3(f"http://{host}:{port}/") == b"ok"


def test_a_warning_would_be_seen_where_there_is_a_thread():
    if sys.version_info < (3, 12):
        pytest.skip("CPython warns since 3.12")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
    assert caught  # the upstream's threads
