"""What is beside the apps: there once one is wrapped, gone when it is uninstalled, and back."""

from __future__ import annotations

import threading

import pytest

import resilient_wsgi
from resilient_wsgi import testing
from resilient_wsgi.request.component import Request


@pytest.fixture(autouse=True)
def nothing_wrapped_yet(monkeypatch):
    monkeypatch.setattr(Request.here(), "wrapped", False)


def watchdogs():
    return [thread for thread in threading.enumerate() if thread.name == "resilient_wsgi watchdog"]


def ask(app):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    return app(environ, lambda *_: None)


def test_the_watchdog_begins_with_the_first_request_and_is_one_for_all_apps():
    installed = resilient_wsgi.install({"REQUEST": {"TIMEOUT": 5}})
    try:
        assert watchdogs() == []
        for _ in range(2):
            ask(resilient_wsgi.wrap(lambda e, s: []))
        assert len(watchdogs()) == 1
    finally:
        installed.uninstall()
    assert watchdogs() == []


def test_it_is_gone_while_the_library_is_off_and_back_afterwards():
    installed = resilient_wsgi.install({"REQUEST": {"TIMEOUT": 5}})
    try:
        app = resilient_wsgi.wrap(lambda e, s: [])
        ask(app)
        with testing.off():
            assert watchdogs() == []
        ask(app)
        assert len(watchdogs()) == 1
    finally:
        installed.uninstall()


def test_a_later_install_changes_it():
    installed = resilient_wsgi.install({"REQUEST": {"TIMEOUT": 5}})
    try:
        ask(resilient_wsgi.wrap(lambda e, s: []))
        resilient_wsgi.install({"REQUEST": {"TIMEOUT": 5, "OVERDUE_GRACE": 1}})
        assert Request.here().parts.options.overdue_grace == 1
        assert len(watchdogs()) == 1
        resilient_wsgi.install({"REQUEST": "off"})
        assert watchdogs() == []
    finally:
        installed.uninstall()


def test_where_nothing_has_a_limit_there_is_none():
    installed = resilient_wsgi.install({})
    try:
        ask(resilient_wsgi.wrap(lambda e, s: []))
        assert watchdogs() == []
        status = {each.name: each for each in installed.status()}["request"]
        assert "watchdog: not needed" in status.means
    finally:
        installed.uninstall()
