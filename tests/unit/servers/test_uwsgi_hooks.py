"""The attributes of uWSGI's module that it calls: ours and everybody else's are called."""

from __future__ import annotations

import sys
import types

import pytest

from resilient_wsgi.servers.uwsgi import hooks as uwsgi_hooks


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setattr(uwsgi_hooks, "_links", {})
    return types.ModuleType("like_uwsgi")


def test_what_was_in_the_hook_before_is_called_too(module):
    ran = []
    module.atexit = lambda: ran.append("theirs")
    uwsgi_hooks.chain(module, "atexit", lambda: ran.append("ours"))
    module.atexit()
    assert ran == ["ours", "theirs"]


def test_somebody_who_overwrites_the_hook_is_added_to_it(module):
    ran = []
    uwsgi_hooks.chain(module, "post_fork_hook", lambda: ran.append("ours"))
    module.post_fork_hook = lambda: ran.append("theirs")
    module.something_else = 7
    # uWSGI itself looks into the dictionary of the module
    module.__dict__["post_fork_hook"]()
    assert ran == ["ours", "theirs"]
    assert module.something_else == 7


def test_somebody_who_chains_by_hand_does_not_call_us_twice(module):
    ran = []
    uwsgi_hooks.chain(module, "atexit", lambda: ran.append("ours"))
    found = module.atexit

    def theirs():
        ran.append("theirs")
        found()

    module.atexit = theirs
    module.atexit()
    module.atexit()
    assert ran == ["ours", "theirs"] * 2


def test_the_function_that_runs_the_hooks_is_known_by_its_code(module):
    codes = []
    module.post_fork_hook = lambda: codes.append(sys._getframe(1).f_code)
    uwsgi_hooks.chain(module, "post_fork_hook", lambda: codes.append(sys._getframe(0).f_code))
    module.post_fork_hook()
    assert [uwsgi_hooks.runs_hooks(code) for code in codes] == [False, True]
