"""What `install()` and `wrap()` bring into a process: no module that waits for its day.

`python -m bench.wrap.weight` measures memory and time as well.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

MOST_MODULES = 90
DJANGO = "import django.core.handlers.wsgi, requests"
# what begins like one of these is of use in servers, with a client that is not loaded, or never
LATER = (
    "doctor", "shm", "cli", "events", "testing", "metrics", "servers.uwsgi", "servers.gunicorn",
    "drivers.clients.", "bulkhead.rule", "overload.queue", "overload.router_time", "host.sockets",
    "outbound.patches.httpcore", "outbound.patches.httpx", "outbound.patches.aiohttp",
    "outbound.patches.websocket", "outbound.patches.urllib3_future", "stderr.stream",
    "threads.shutdown", "request.watchdog", "readiness.monitor",
)  # fmt: skip


def run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


def added(before, what):
    code = f"import sys\n{before}\nbefore = set(sys.modules)\n{what}\n"
    return set(run(f"{code}print(*(set(sys.modules) - before))").stdout.split())


INSTALL = "import resilient_wsgi; resilient_wsgi.install()"
WRAP = f"{INSTALL}; resilient_wsgi.wrap(lambda environ, start_response: [])"


@pytest.mark.parametrize("what", [INSTALL, WRAP])
def test_a_process_with_django_gets_so_many_modules_at_most(what):
    modules = added(DJANGO, what)
    assert "resilient_wsgi.outbound.patches.requests" in modules  # or nothing was installed
    assert len(modules) <= MOST_MODULES, sorted(modules)


def test_what_is_needed_later_is_imported_later():
    beginnings = tuple(f"resilient_wsgi.{part}" for part in LATER)
    assert [name for name in added(DJANGO, WRAP) if name.startswith(beginnings)] == []


REQUESTS = """
import io, sys, resilient_wsgi
resilient_wsgi.install()
def app(environ, start_response):
    environ["wsgi.errors"].write("a line\\n")
    print("stream" if "resilient_wsgi.stderr.stream" in sys.modules else "nothing")
    return []
wrapped = resilient_wsgi.wrap(app)
for errors in (io.StringIO(), sys.stderr, io.StringIO()):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.errors": errors}
    wrapped(environ, print)
    print(type(environ["wsgi.errors"]).__name__)
"""


def test_the_stream_of_errors_comes_with_the_first_request_that_has_standard_error():
    done = run(REQUESTS)
    assert done.stdout.split() == [
        "nothing", "StringIO", "stream", "NonBlockingStream", "stream", "StringIO",
    ]  # fmt: skip
    assert done.stderr == "a line\n"
