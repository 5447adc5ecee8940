"""Which of the two processes of `manage.py runserver` serves."""

from __future__ import annotations

import sys
import threading
import types

import pytest

from resilient_wsgi.servers import plain


@pytest.mark.parametrize(
    ("arguments", "environment", "role"),
    [
        (["runserver"], {}, "master"),  # it only watches over the one that serves
        (["runserver"], {"RUN_MAIN": "true"}, "process"),
        (["runserver", "--noreload"], {}, "process"),
    ],
)
def test_of_the_two_processes_of_runserver_one_starts(monkeypatch, arguments, environment, role):
    monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
    monkeypatch.delenv("RUN_MAIN", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "django", types.ModuleType("django"))
    assert plain.is_runserver()
    monkeypatch.setattr(threading, "_register_atexit", lambda *_: None)
    ran = []
    server = plain.RunserverServer()
    server.hooks.child.add(lambda: ran.append(1))
    assert server.identity().role == role
    assert bool(ran) == (role == "process")
