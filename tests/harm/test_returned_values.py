"""What an app returns reaches the server as it would without the library."""

from __future__ import annotations

import contextvars
import copy
import gc
import http.client
import pickle
import subprocess
import sys
import time
import types
import urllib.request
from collections import UserList, deque
from wsgiref import util

import pytest

from lab.processes import Gunicorn, Server, ToolMissing
from resilient_wsgi import deadline
from resilient_wsgi.request import DeadlineMiddleware, body as body_module
from resilient_wsgi.request.running import running


def call(result, **environ_of_test):
    """Return what the server gets when an app returns `result`, and the context of the request."""
    environ, contexts = dict(environ_of_test), []
    util.setup_testing_defaults(environ)

    def app(environ, start_response):
        contexts.append(contextvars.copy_context())
        return result

    return DeadlineMiddleware(app, 5)(environ, lambda *_: None), contexts[0]


def is_over(context):
    return not context.run(deadline.in_request) and not running.requests()


class Pieces:
    """An app's own iterable, with all that somebody could ask it for."""

    status_code = 201

    def __init__(self, *pieces):
        self.pieces = pieces
        self.closed = 0

    def __iter__(self):
        for piece in self.pieces:
            assert deadline.current().limit == 5
            yield piece

    def __len__(self):
        return len(self.pieces)

    def __getitem__(self, name):
        return {"Content-Type": "text/plain"}[name]

    def close(self):
        assert deadline.current().limit == 5
        self.closed += 1


@pytest.mark.parametrize(
    "result",
    [
        [b"x"],
        (b"x",),
        b"bytes",
        bytearray(b"x"),
        memoryview(b"x"),
        "text",
        None,
        True,
        5,
        {b"x": 1},
        {b"x"},
        object(),
    ],
    ids=lambda each: repr(each).partition(" at 0x")[0],
)
def test_what_has_no_code_to_run_is_the_very_object(result):
    body, context = call(result)
    assert body is result
    assert is_over(context)


@pytest.mark.parametrize(
    "result",
    [
        Pieces(b"a", b"b"),
        (b"ab" for _ in range(1)),
        iter([b"a", b"b"]),
        deque([b"a", b"b"]),
        UserList([b"a", b"b"]),
        type("Sequence", (), {"__getitem__": lambda self, n: [b"a", b"b"][n]})(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_is_iterated_over_is_of_its_type_and_gives_its_pieces(result):
    body, context = call(result)
    assert isinstance(body, type(result))
    for special in ("__len__", "__next__", "__getitem__"):
        assert hasattr(body, special) == hasattr(result, special)
    assert b"".join(body) == b"ab"
    assert not is_over(context)
    body.close()
    assert is_over(context)


def test_its_attributes_and_special_methods_are_reached():
    result = Pieces(b"a", b"b")
    body, _ = call(result)
    assert (body.status_code, len(body), body["Content-Type"]) == (201, 2, "text/plain")
    body.reason = "for tests"
    assert result.reason == "for tests"
    del body.reason
    assert not hasattr(result, "reason")
    assert repr(body) == repr(result)
    assert dir(body) == dir(result)
    assert b"".join(body) + b"".join(body) == b"abab"  # as often as one likes
    body.close()
    assert result.closed == 1
    assert type(copy.copy(body)) is Pieces


def test_a_generator_keeps_its_own_methods():
    body, _ = call(b"" for _ in range(3))
    assert isinstance(body, types.GeneratorType)
    assert body.gi_frame is not None
    assert body.send(None) == b""
    with pytest.raises(KeyError):
        body.throw(KeyError)
    body.close()


def test_wsgiref_finds_the_length_of_one_piece():
    """It calls len(), and sets Content-Length where that is 1 (wsgiref/handlers.py,
    finish_content).
    """
    body, _ = call(Pieces(b"abc"))
    assert len(body) == 1
    generator, _ = call(b"" for _ in range(1))
    with pytest.raises(TypeError):
        len(generator)


def test_types_made_in_a_request_are_not_kept():
    before = len(body_module._kinds)
    for _ in range(50):
        call(type("Local", (), {"__iter__": lambda self: iter(())})())[0].close()
    gc.collect()
    assert len(body_module._kinds) <= before


DJANGO = """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DATABASES={}, INSTALLED_APPS=["resilient_wsgi.django"],
    RESILIENT_WSGI={"REQUEST": {"TIMEOUT": 5}, "STDERR": "off"},
)
django.setup()
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.urls import path
from resilient_wsgi import deadline
from resilient_wsgi.request.running import running

def pieces():
    assert deadline.in_request()
    yield b"streamed"

urlpatterns = [
    path("", lambda request: HttpResponse(b"whole", status=201)),
    path("stream", lambda request: StreamingHttpResponse(pieces())),
]
finished = []
request_finished.connect(lambda **_: finished.append(deadline.in_request()), weak=False)
handler = WSGIHandler()

def ask(where):
    said = []
    response = handler(RequestFactory().get(where).environ, lambda *started: said.append(started[0]))
    assert said
    return response

response = ask("/")
assert type(response) is HttpResponse
assert (response.status_code, response.content, response["Content-Type"]) == (201, b"whole", "text/html; charset=utf-8")
assert running.requests() and not deadline.in_request()
response.close()
assert finished.pop() and not running.requests() and response.closed and "close" not in vars(response)

response = ask("/stream")
assert isinstance(response, StreamingHttpResponse) and response.status_code == 200 and response.streaming
assert "text/html" in response.headers["Content-Type"] and response.has_header("Content-Type")
assert b"".join(response) == b"streamed"
response.close()
assert finished.pop() and not running.requests()
print("all well")
"""


def test_django_s_own_response_is_returned_and_its_close_is_inside_the_request(tmp_path):
    (tmp_path / "project.py").write_text(DJANGO)
    done = subprocess.run(
        [sys.executable, "project.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("all well\n"), done.stderr


APP = """
import io, sys, types
import resilient_wsgi

class Iterable:
    def __iter__(self): return iter([b"a", b"b"])
    def close(self): print("closed", file=sys.stderr, flush=True)
class Sequence:
    def __getitem__(self, n): return [b"a", b"b"][n]
class Listed(list): pass
def late(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"late"
def broken():
    yield b"begun"
    raise KeyError("broken")
def written(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])(b"written")
    return []
def sent(environ, start_response):
    import uwsgi
    start_response("200 OK", [("Content-Type", "text/plain")])
    return uwsgi.sendfile(__file__)
def in_file(environ):
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))

RESULTS = {
    "list": lambda e: [b"a", b"b"], "tuple": lambda e: (b"a", b"b"), "empty": lambda e: [], "bytes": lambda e: b"hello",
    "bytearray": lambda e: bytearray(b"hello"), "view": lambda e: memoryview(b"hello"), "text": lambda e: "hello",
    "none": lambda e: None, "true": lambda e: True, "number": lambda e: 5, "object": lambda e: object(),
    "generator": lambda e: (b"x" for _ in range(2)), "iterator": lambda e: iter([b"a", b"b"]), "iterable": lambda e: Iterable(),
    "sequence": lambda e: Sequence(), "listed": lambda e: Listed([b"a"]), "dict": lambda e: {b"a": 1, b"b": 2},
    "file": in_file, "open": lambda e: io.BytesIO(b"one\\ntwo\\n"), "broken": lambda e: broken(), "none_in_it": lambda e: iter([None, b"x"]),
}
def app(environ, start_response):
    name = environ["PATH_INFO"].rpartition("/")[2]
    if name in ("late", "written", "sent"):
        return globals()[name](environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return RESULTS[name](environ)

resilient_wsgi.install()
wrapped = resilient_wsgi.wrap(app)
def application(environ, start_response):
    return (wrapped if environ["PATH_INFO"].startswith("/with/") else app)(environ, start_response)
"""
NAMES = [
    "list",
    "tuple",
    "empty",
    "bytes",
    "bytearray",
    "view",
    "text",
    "none",
    "true",
    "number",
    "object",
    "generator",
    "iterator",
    "iterable",
    "sequence",
    "listed",
    "dict",
    "file",
    "open",
    "broken",
    "none_in_it",
    "late",
    "written",
    "sent",
]


def made(kind, tmp_path):
    (tmp_path / "returns.py").write_text(APP)
    env = {"RESILIENT_WSGI_REQUEST_TIMEOUT": "20", "PYTHONPATH": str(tmp_path)}
    try:
        if kind == "uwsgi":
            hooks = {
                "shared-import": "resilient_wsgi.uwsgi",
                "hook-accepting": "rpc:resilient_wsgi_ready",
            }
            return Server(
                {"module": "returns", "master": True, "pythonpath": str(tmp_path), **hooks}, env=env
            )
        threads = ["--threads=2"] if kind == "gthread" else []
        return Gunicorn("returns:application", threads, env=env)
    except ToolMissing as missing:
        pytest.skip(str(missing))


def answer(server, path):
    """Return status, body and error of an answer, and how many tracebacks and closes it left in the
    log.
    """
    before = server.log()
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{server.port}{path}", timeout=10
        ) as response:
            got = (response.status, response.headers["Content-Length"], response.read())
    except (http.client.HTTPException, OSError) as error:
        got = (getattr(error, "code", type(error).__name__),)
    time.sleep(0.05)  # the server's traceback comes after the answer
    log = server.log()[len(before) :]
    return (*got, log.count("Traceback"), log.count("closed\n"))


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["uwsgi", "sync", "gthread"])
def test_a_server_does_with_each_result_what_it_does_without_the_library(kind, tmp_path):
    with made(kind, tmp_path) as server:
        names = [name for name in NAMES if name != "sent" or kind == "uwsgi"]
        without = {name: answer(server, f"/without/{name}") for name in names}
        with_it = {name: answer(server, f"/with/{name}") for name in names}
    assert with_it == without
    assert without["generator"][2] == b"xx"
    assert without["iterable"][-1] == 1


def test_a_copied_response_can_be_pickled():
    body, _ = call(deque([b"a"]))
    assert pickle.loads(pickle.dumps(body)) == deque([b"a"])
