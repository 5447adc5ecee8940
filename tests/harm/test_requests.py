"""A request's limits are its own: they begin and end with it, and hold for nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import subprocess
import sys
import tempfile
import threading
from wsgiref import util

import pytest

from lab.processes import ToolMissing, wait_until
from lab.processes.base import find_tool
from resilient_wsgi import deadline
from resilient_wsgi.app import Wrapped
from resilient_wsgi.request import DeadlineMiddleware
from resilient_wsgi.request.client import hung_up
from resilient_wsgi.request.running import running
from resilient_wsgi.settings.options import Outbound, Overload, Readiness, Request, Settings, Stderr


def environ():
    made = {}
    util.setup_testing_defaults(made)
    return made


def start_response(status, headers, exc_info=None):
    del status, headers, exc_info


def serve(app, seconds=5.0, **options):
    """Serve one request to its end."""
    body = DeadlineMiddleware(app, seconds, **options)(environ(), start_response)
    try:
        return list(body)
    finally:
        getattr(body, "close", lambda: None)()


def seen():
    """Return what code here sees of a request."""
    return deadline.in_request(), deadline.remaining() is not None


def test_a_thread_that_copied_the_context_has_no_deadline_once_the_request_is_over():
    inside, outside, over = [], [], threading.Event()

    def job():
        inside.append(seen())
        started.set()
        over.wait(10)
        outside.append(seen())

    def app(environ, start_response):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(job,))
        thread.start()
        started.wait(10)
        threads.append(thread)
        return []

    started, threads = threading.Event(), []
    serve(app)
    over.set()
    threads[0].join(10)
    assert (inside, outside) == ([(True, True)], [(False, False)])


def test_a_task_that_outlives_its_request_has_no_deadline():
    async def job():
        found.append(seen())
        await over
        found.append(seen())

    def app(environ, start_response):
        tasks.append(loop.create_task(job()))
        loop.run_until_complete(asyncio.sleep(0))
        return []

    loop = asyncio.new_event_loop()
    found, tasks, over = [], [], loop.create_future()
    serve(app)
    over.set_result(None)
    loop.run_until_complete(tasks[0])
    loop.close()
    assert found == [(True, True), (False, False)]


def test_a_limit_of_the_view_ends_with_its_block_in_a_copied_context_too():
    def app(environ, start_response):
        with deadline.limit(1):
            contexts.append(contextvars.copy_context())
        assert contexts[0].run(lambda: deadline.current().limit) == 5
        return []

    contexts = []
    serve(app)
    assert contexts[0].run(seen) == (False, False)


def test_a_job_keeps_its_own_limit_when_the_request_is_over():
    def job():
        with deadline.limit(60):
            found.append(deadline.current().limit)
            finish()
            found.append(deadline.current().limit)
        found.append(deadline.current())

    def app(environ, start_response):
        contexts.append(contextvars.copy_context())
        return iter([b""])

    found, contexts = [], []
    body = DeadlineMiddleware(app, 5)(environ(), start_response)
    finish = body.close
    contexts[0].run(job)
    assert found == [5, 60, None]


@pytest.mark.parametrize(
    ("seconds", "enforced", "limited"),
    [(5.0, True, True), (float("inf"), True, False), (5.0, False, False)],
    ids=["with a deadline", "without a deadline", "in report mode"],
)
def test_code_is_in_a_request_until_its_response_is_closed(seconds, enforced, limited):
    class Body:
        def __iter__(self):
            found.append(seen())
            yield b"x"

        def close(self):
            found.append(seen())

    def app(environ, start_response):
        found.append(seen())
        contexts.append(contextvars.copy_context())
        return Body()

    found, contexts = [seen()], []
    assert serve(app, seconds, enforced=enforced) == [b"x"]
    found += [seen(), contexts[0].run(seen)]
    none = (False, False)
    assert found == [none, *[(True, limited)] * 3, none, none]


def test_a_child_that_was_forked_in_a_request_is_in_none():
    """Nothing would end it there: the request ends in the parent."""

    def app(environ, start_response):
        context = contextvars.copy_context()
        pid = os.fork()
        if not pid:
            os._exit(seen() != (False, False) or context.run(seen) != (False, False))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert seen() == (True, True)
        return []

    codes = []
    serve(app)
    assert codes == [0]


@pytest.mark.parametrize("outcome", ["a list", "an exception"])
def test_a_request_is_over_when_the_app_has_returned_or_raised(outcome):
    def app(environ, start_response):
        contexts.append(contextvars.copy_context())
        if outcome == "an exception":
            raise KeyError
        return []

    contexts = []
    try:
        serve(app)
    except KeyError:
        assert outcome == "an exception"
    assert contexts[0].run(seen) == (False, False)


@pytest.mark.parametrize(
    "options",
    [
        Settings(),
        Settings(request=Request(mode="off")),
        Settings(request=Request(record=False, client_left="off")),
        Settings(request=Request(mode="report"), outbound=Outbound(mode="report")),
    ],
    ids=["defaults", "request off", "nothing to watch", "report"],
)
def test_every_wrapped_app_knows_that_it_is_in_a_request(options):
    found = []
    app = Wrapped(lambda environ, start_response: [found.append(seen()) or b""], options)
    app(environ(), start_response)
    assert found == [(True, False)]


def test_with_everything_off_nothing_is_put_around_the_app():
    def app(environ, start_response):
        found.append(seen())
        return []

    found = []
    off = Settings(
        request=Request(mode="off"), outbound=Outbound(mode="off"), stderr=Stderr(mode="off"),
        readiness=Readiness(mode="off"), overload=Overload(mode="off"),
    )  # fmt: skip
    Wrapped(app, off)(environ(), start_response)
    assert found == [(False, False)]


def test_a_request_within_a_request_ends_alone():
    def inner(environ, start_response):
        contexts.append(contextvars.copy_context())
        return []

    def outer(environ_, start_response):
        serve(inner, 1)
        found.append((deadline.current().limit, contexts[0].run(lambda: deadline.current().limit)))
        return []

    found, contexts = [], []
    serve(outer, 5)
    assert found == [(5, 5)]
    assert contexts[0].run(seen) == (False, False)


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET], ids=["UNIX", "TCP"])
@pytest.mark.parametrize("how", ["waits", "half-closed", "closed"])
def test_on_a_unix_socket_a_client_that_has_ended_its_request_is_told_from_one_that_is_gone(
    family, how
):
    with connected(family) as (client, accepted):
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        if how == "half-closed":
            client.shutdown(socket.SHUT_WR)
        elif how == "closed":
            client.close()
        expected = how == "closed" or (how == "half-closed" and family == socket.AF_INET)
        assert wait_until(lambda: hung_up(accepted.fileno()) == expected, 2)
        assert accepted.recv(100)
        assert hung_up(accepted.fileno()) == expected


@contextlib.contextmanager
def connected(family):
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(family) as listening,
        socket.socket(family) as client,
    ):
        listening.bind(f"{folder}/s" if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listening.listen()
        client.connect(listening.getsockname())
        with listening.accept()[0] as accepted:
            yield client, accepted


HALF_CLOSED_APP = """
import resilient_wsgi
resilient_wsgi.install()
@resilient_wsgi.wrap
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.servers
@pytest.mark.parametrize("server", ["uwsgi", "gunicorn"])
def test_a_half_closing_client_on_a_unix_socket_is_answered(server, tmp_path):
    """As `nc -N -U`, socat and health checks in shell do."""
    (tmp_path / "half.py").write_text(HALF_CLOSED_APP)
    path = str(tmp_path / "s")
    commands = {
        "uwsgi": ["uwsgi", "--http-socket", path, "--master", "--module", "half", "--die-on-term"],
        "gunicorn": ["gunicorn", "--bind", f"unix:{path}", "half"],
    }
    try:
        program = find_tool(server)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    command = [program, *commands[server][1:]]
    with (tmp_path / "log").open("w") as log:
        running_server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        answers = [half_closing(path) for _ in range(3)]
    finally:
        running_server.terminate()
        running_server.wait(20)
    assert [answer[9:12] for answer in answers] == [b"200"] * 3, (tmp_path / "log").read_text()


def half_closing(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        assert wait_until(lambda: client.connect_ex(path) == 0, 15)
        client.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1000), b""))


DJANGO = """
import asyncio, sys, threading
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DATABASES={},
    INSTALLED_APPS=["resilient_wsgi.django", "jobs"],
    RESILIENT_WSGI={"REQUEST": {"TIMEOUT": 5}},
)
import django
django.setup()
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from asgiref.sync import sync_to_async
from resilient_wsgi import deadline

def seen():
    return str(deadline.in_request())
async def view(request):
    in_thread, in_task = await sync_to_async(seen)(), await asyncio.create_task(later())
    return HttpResponse(f"{seen()} {in_thread} {in_task}")
async def later():
    await asyncio.sleep(0)
    return seen()
def stream(request):
    return StreamingHttpResponse(seen() for _ in range(2))
urlpatterns = [path("view", view), path("stream", stream)]

def by_wsgi(where):
    from django.core.wsgi import get_wsgi_application
    from django.test import RequestFactory
    response = get_wsgi_application()(RequestFactory().get(where).environ, lambda *_: None)
    body = b"".join(response).decode()
    response.close()
    return body

async def by_asgi(where):
    from asgiref.testing import ApplicationCommunicator
    from django.core.asgi import get_asgi_application
    scope = {"type": "http", "method": "GET", "path": where, "headers": [], "query_string": b""}
    communicator = ApplicationCommunicator(get_asgi_application(), scope)
    await communicator.send_input({"type": "http.request"})
    await communicator.receive_output(10)
    return (await communicator.receive_output(10))["body"].decode()

from django.core.management import call_command
before = [thread.name for thread in threading.enumerate()]
call_command("look")
assert [thread.name for thread in threading.enumerate()] == before
assert by_wsgi("/view") == "True True True", by_wsgi("/view")
assert by_wsgi("/stream") == "TrueTrue"
assert asyncio.run(by_asgi("/view")) == "False False False"
assert seen() == "False"
print("all well")
"""
COMMAND = """
from django.core.management.base import BaseCommand
from resilient_wsgi import deadline
class Command(BaseCommand):
    def handle(self, **options):
        assert not deadline.in_request() and deadline.remaining() is None
"""


def test_django_s_async_views_are_in_a_request_under_wsgi_and_its_commands_and_asgi_are_not(
    tmp_path,
):
    commands = tmp_path / "jobs" / "management" / "commands"
    commands.mkdir(parents=True)
    for folder in (tmp_path / "jobs", commands.parent, commands):
        (folder / "__init__.py").touch()
    (commands / "look.py").write_text(COMMAND)
    (tmp_path / "project.py").write_text(DJANGO)
    command = [sys.executable, "-W", "ignore::Warning:django", "project.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("all well\n"), done.stderr


def test_an_environ_that_is_none_leaves_no_request_behind():
    running.forget()
    running.records = [type("Record", (), {"begin": lambda *_: None, "clear": lambda self: None})()]
    try:
        assert DeadlineMiddleware(lambda environ, start_response: [b"x"], 5)(
            {}, start_response
        ) == [b"x"]
        assert running.requests() == []
    finally:
        running.forget()


def test_a_request_s_deadline_is_not_in_the_time_of_a_frozen_clock():
    from freezegun import freeze_time

    from resilient_wsgi import deadline
    from resilient_wsgi.request import DeadlineMiddleware

    left = []

    def app(environ, start_response):
        left.append(deadline.remaining())
        return []

    wrapped = DeadlineMiddleware(app, seconds=5.0)
    with freeze_time("2030-01-01"):
        wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, None)
    assert 4.0 < left[0] <= 5.0
