"""A wrapped app can be copied and pickled wherever the app itself can be."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest

from resilient_wsgi import wrap
from resilient_wsgi.app import Wrapped


class App:
    def __init__(self):
        self.routes = {"/": "index"}

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return [self.routes["/"].encode()]


def function(environ, start_response):
    start_response("200 OK", [])
    return [b"function"]


def pickled(app):
    return pickle.loads(pickle.dumps(app))


@pytest.fixture
def importable(monkeypatch):
    """Make this module one that pickle finds, with an app that `wrap` has replaced by its name."""
    module = sys.modules.setdefault(__name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(module, "App", App, raising=False)
    monkeypatch.setattr(module, "function", wrap(function), raising=False)
    return module


def ask(app):
    return b"".join(app({"PATH_INFO": "/x", "REQUEST_METHOD": "GET"}, lambda *_: None))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_wrapped_object_is_a_wrapped_copy(importable, again):
    app = wrap(App())
    other = again(app)
    assert isinstance(other, Wrapped)
    assert other is not app
    assert other.routes == app.routes
    assert (other.routes is app.routes) == (again is copy.copy)
    assert ask(other) == ask(app) == b"index"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_wrapped_function_is_itself_as_that_of_a_function_is(importable, again):
    assert again(importable.function) is importable.function


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_an_app_that_copies_itself_in_its_own_way_does_not_copy_the_middleware_away(again):
    class Own(App):
        def __copy__(self):
            return Own()

        def __deepcopy__(self, memo):
            return Own()

    assert isinstance(again(wrap(Own())), Wrapped)


def test_an_attribute_that_the_app_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="missing"):
        print(wrap(function).missing)
