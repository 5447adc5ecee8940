"""Whether the app's code runs is known by the code that calls it, whatever the files are called and
however they are nested.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from resilient_wsgi import wrap
from resilient_wsgi.core import app_entries
from resilient_wsgi.core.middleware import Gate
from resilient_wsgi.request import DeadlineMiddleware, last_resort
from resilient_wsgi.stderr import ErrorsMiddleware

PACKAGE = Path(__file__).parents[2] / "resilient_wsgi"


class Passes(Gate):
    """A gate that answers nothing itself."""

    def answer(self, environ, start_response):
        return None


class Seen:
    """An app that notes, wherever its code runs, whether that is known."""

    def __init__(self):
        self.known = []

    def note(self):
        frame = sys._getframe()
        self.known.append((last_resort._in_app(frame), app_entries.inside(frame)))

    def __call__(self, environ, start_response):
        self.note()
        return self

    def __iter__(self):
        self.note()
        yield b"x"
        self.note()

    def close(self):
        self.note()


@pytest.mark.parametrize(
    "around",
    [
        lambda app: DeadlineMiddleware(app, seconds=10),
        lambda app: DeadlineMiddleware(app, seconds=10, soft=True),
        lambda app: DeadlineMiddleware(ErrorsMiddleware(app), seconds=10, soft=True),
        lambda app: DeadlineMiddleware(Passes(app), seconds=10, soft=True),
        lambda app: Passes(DeadlineMiddleware(app, seconds=10)),
        lambda app: wrap(DeadlineMiddleware(app, seconds=10)),
    ],
)
def test_it_is_known_in_the_call_the_iteration_and_close(around):
    app = Seen()
    body = around(app)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    assert list(body) == [b"x"]
    body.close()
    assert app.known == [(True, True)] * 4


def test_it_is_not_known_of_code_that_we_do_not_call():
    app = Seen()
    app.note()
    assert app.known == [(False, False)]


def test_no_file_is_known_by_its_name():
    compared = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and any(isinstance(op, (ast.In, ast.NotIn, ast.Eq, ast.NotEq)) for op in node.ops)
        and "co_filename" in ast.unparse(node)
    ]
    assert compared == []


def test_no_finally_swallows_what_is_raised():
    """CPython 3.14 warns of `return` in `finally`, and where warnings are errors does not import
    the file.
    """

    def jumps(nodes):
        for node in nodes:
            if isinstance(node, (ast.Return, ast.Break, ast.Continue)):
                yield node
            elif not isinstance(
                node, (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While)
            ):
                yield from jumps(ast.iter_child_nodes(node))

    found = [
        f"{path.relative_to(PACKAGE.parent)}:{jump.lineno}"
        for folder in ("resilient_wsgi", "lab", "bench", "tests")
        for path in (PACKAGE.parent / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Try)
        for jump in jumps(node.finalbody)
    ]
    assert found == []
