"""Patches: whoever else wraps the same names, before or after, gets what it would get without."""

from __future__ import annotations

import functools
import inspect
import types

import pytest
import wrapt

from resilient_wsgi.core.patching import Patches, is_ours


def louder(original):
    return lambda *args, **kwargs: original(*args, **kwargs).upper()


def twice(original):
    return lambda *args, **kwargs: original(*args, **kwargs) * 2


@pytest.fixture
def client():
    class Client:
        def call(self, word="real"):
            return word

        @classmethod
        def make(cls, word="made"):
            return f"{cls.__name__} {word}"

        @staticmethod
        def plain(word="plain"):
            return word

    return Client


class Tracer:
    """What a tracer notes of each call, with a wrapper of wrapt's, as they all use."""

    def __init__(self, owner, name):
        self.seen = []
        wrapt.wrap_function_wrapper(owner, name, self)

    def __call__(self, wrapped, instance, args, kwargs):
        self.seen.append((instance, args))
        return wrapped(*args, **kwargs)


def test_a_method_is_restored_to_the_very_same(client):
    original = client.__dict__["call"]
    patches = Patches()
    patches.wrap(client, "call", louder)
    patches.wrap(client, "call", twice)  # is at work already
    assert client().call() == "REAL"
    assert client.call.__wrapped__ is original
    assert client.call.__name__ == "call"
    assert inspect.signature(client.call) == inspect.signature(original)
    patches.restore()
    assert client.__dict__["call"] is original


def test_what_does_not_exist_is_left_alone(client):
    Patches().wrap(client, "missing", louder)
    assert not hasattr(client, "missing")


def test_a_tracer_that_came_first_sees_its_instance_and_its_arguments(client):
    tracer = Tracer(client, "call")
    theirs = client.__dict__["call"]
    patches = Patches()
    patches.wrap(client, "call", louder)
    one = client()
    assert one.call("word") == "WORD"
    assert tracer.seen == [(one, ("word",))]
    assert client.call(one, "unbound") == "UNBOUND"
    assert tracer.seen[1] == (one, ("unbound",))
    patches.restore()
    assert client.__dict__["call"] is theirs


@pytest.mark.parametrize("name", ["make", "plain"])
@pytest.mark.parametrize("traced", [False, True])
def test_class_and_static_methods_stay_what_they_are(client, name, traced):
    expected = getattr(client, name)("word")
    if traced:
        Tracer(client, name)
    before = client.__dict__[name]
    patches = Patches()
    patches.wrap(client, name, louder)
    special = type("Special", (client,), {})
    assert getattr(client, name)("word") == expected.upper()
    assert getattr(client(), name)("word") == expected.upper()
    assert getattr(special, name)("word").endswith("WORD")
    assert getattr(special, name)("word").startswith("SPECIAL" if name == "make" else "WORD")
    patches.restore()
    assert client.__dict__[name] is before


class CallableObject:
    def __call__(self, word):
        return f"one and {word}"


def test_descriptors_of_others_are_bound_and_callable_objects_are_not(client):
    class Bindable:
        def __get__(self, instance, owner):
            return functools.partial("{}.{}".format, type(instance).__name__)

        def __call__(self, *args):
            raise AssertionError("called unbound")

    client.call = Bindable()
    client.word = CallableObject()
    patches = Patches()
    patches.wrap(client, "call", louder)
    patches.wrap(client, "word", louder)
    assert client().call("word") == "CLIENT.WORD"
    assert client().word("two") == "ONE AND TWO"


def test_a_method_of_c_is_bound_to_its_instance():
    class Words(list):
        pass

    patches = Patches()
    patches.wrap(Words, "pop", louder)
    assert Words(["a", "b"]).pop(0) == "A"
    patches.restore()
    assert "pop" not in vars(Words)


def test_what_is_inherited_is_overridden_and_follows_later_patches_of_the_base(client):
    special = type("Special", (client,), {})
    patches = Patches()
    patches.wrap(special, "call", louder)
    assert (client().call(), special().call()) == ("real", "REAL")
    tracer = Tracer(client, "call")
    one = special()
    assert one.call() == "REAL"
    assert tracer.seen == [(one, ())]
    patches.restore()
    assert "call" not in vars(special)


def test_what_is_inherited_from_a_class_that_is_patched_already_is_patched_once(client):
    special = type("Special", (client,), {})
    patches = Patches()
    patches.wrap(client, "call", twice)
    patches.wrap(special, "call", twice)
    assert special().call() == "realreal"


def wrapped_by_wrapt(owner, name):
    Tracer(owner, name)


def wrapped_by_a_function(owner, name):
    before = getattr(owner, name)

    @functools.wraps(before)
    def theirs(*args, **kwargs):
        return before(*args, **kwargs)

    setattr(owner, name, theirs)


def wrapped_without_a_mark(owner, name):
    before = getattr(owner, name)
    setattr(owner, name, lambda *args: before(*args))  # noqa: PLW0108 - as people write it


others = pytest.mark.parametrize(
    "wrap", [wrapped_by_wrapt, wrapped_by_a_function, wrapped_without_a_mark]
)


@others
def test_what_others_have_wrapped_since_stays_and_ours_passes_through(client, wrap):
    patches = Patches()
    patches.wrap(client, "call", louder)
    wrap(client, "call")
    theirs = client.__dict__["call"]
    assert client().call() == "REAL"
    patches.restore()
    assert client.__dict__["call"] is theirs
    assert client().call() == "real"


@others
def test_what_is_beneath_others_is_revived_not_put_there_twice(client, wrap):
    patches = Patches()
    patches.wrap(client, "call", louder)
    wrap(client, "call")
    theirs = client.__dict__["call"]
    patches.restore()
    patches.wrap(client, "call", twice)
    assert client.__dict__["call"] is theirs
    assert client().call() == "realreal"


def test_who_puts_back_ours_later_puts_back_what_passes_through(client):
    patches = Patches()
    patches.wrap(client, "call", louder)
    ours, client.call = client.call, lambda self: "mocked"
    patches.restore()
    assert client().call() == "mocked"
    client.call = ours
    assert client().call() == "real"
    patches.wrap(client, "call", louder)
    assert client().call() == "REAL"


def test_ours_is_put_there_again_where_others_have_put_back_what_was_there_before(client):
    original = client.call
    patches = Patches()
    patches.wrap(client, "call", louder)
    client.call = original
    patches.wrap(client, "call", louder)
    assert client().call() == "REAL"
    client.call = original
    patches.restore()
    assert client.call is original


def test_a_function_of_a_module_is_called_as_it_is():
    module = types.ModuleType("module")
    module.call = "{}-{}".format
    tracer = Tracer(module, "call")
    patches = Patches()
    patches.wrap(module, "call", twice)
    assert module.call("a", "b") == "a-ba-b"
    assert tracer.seen == [(None, ("a", "b"))]
    patches.restore()
    assert module.call("a", "b") == "a-b"


def test_two_components_may_patch_the_same_name_and_go_in_any_order(client):
    one, other = Patches(), Patches()
    one.wrap(client, "call", louder)
    other.wrap(client, "call", twice)
    assert client().call() == "REALREAL"
    one.restore()
    assert client().call() == "realreal"
    other.restore()
    assert client().call() == "real"


def test_a_replacement_is_told_from_what_wraps_it(client):
    patches = Patches()
    assert not is_ours(client.call)
    patches.wrap(client, "call", louder)
    patches.wrap(client, "make", louder)
    assert is_ours(client.call)
    assert is_ours(client().call)
    assert is_ours(client.make)
    wrapped_by_a_function(client, "call")
    assert not is_ours(client.call)


def test_replacements_that_pass_through_by_themselves_have_no_call_in_front(client):
    patches = Patches(passing=True)

    def replacement(self):
        return "ours"

    patches.wrap(client, "call", lambda original: replacement)
    assert client.__dict__["call"] is replacement


def test_the_repr_lists_what_is_patched(client):
    patches = Patches()
    assert repr(patches) == "<Patches none>"
    patches.wrap(client, "call", louder)
    assert repr(patches) == "<Patches Client.call>"
    wrapped_by_a_function(client, "call")
    patches.restore()
    assert repr(patches) == "<Patches Client.call (off)>"


@pytest.mark.parametrize("wrap", [wrapped_by_wrapt, wrapped_by_a_function])
def test_ours_is_put_there_again_where_others_have_wrapped_what_was_there_before(client, wrap):
    original = client.call
    patches = Patches()
    patches.wrap(client, "call", louder)
    client.call = original
    wrap(client, "call")
    theirs = client.__dict__["call"]
    patches.wrap(client, "call", louder)
    assert client().call() == "REAL"
    patches.restore()
    assert client.__dict__["call"] is theirs
