"""Uninstalling leaves what others have patched, before and after, and takes away all that is ours."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import subprocess
import sys
import threading

import pytest
import wrapt

import resilient_wsgi
from resilient_wsgi import app as stack, testing
from resilient_wsgi.core.patching import is_ours
from resilient_wsgi.readiness.last_error import LAST_ERROR
from resilient_wsgi.stderr import children
from resilient_wsgi.threads import adoption

POOL = concurrent.futures.ThreadPoolExecutor
OURS = {
    "Thread.start": (adoption.install, adoption.uninstall, threading.Thread, "start"),
    "submit": (adoption.install, adoption.uninstall, POOL, "submit"),
    "excepthook": (LAST_ERROR.watch, LAST_ERROR.unwatch, sys, "excepthook"),
    "os.system": (children.install, children.uninstall, os, "system"),
    "os.posix_spawn": (children.install, children.uninstall, os, "posix_spawn"),
    "Popen": (children.install, children.uninstall, subprocess.Popen, "_get_handles"),
}
each = pytest.mark.parametrize(("install", "uninstall", "owner", "name"), OURS.values(), ids=OURS)


@pytest.fixture(autouse=True)
def as_it_was():
    """Put back what was there, whatever a test has done."""
    places = [(owner, name) for _, _, owner, name in OURS.values()]
    before = [vars(owner)[name] for owner, name in places]
    yield
    for (owner, name), value in zip(places, before):
        setattr(owner, name, value)


def use(name, capfd):
    """Do what ends in a call of what is patched; return whether that works."""
    if name == "start":
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        return True
    if name == "submit":
        with POOL(1) as pool:
            return pool.submit(int, "7").result() == 7
    if name == "excepthook":
        sys.excepthook(ValueError, ValueError("text"), None)
        return "ValueError: text" in capfd.readouterr().err
    if name == "system":
        return os.system("true") == 0
    if name == "posix_spawn":
        return os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)[1] == 0
    return subprocess.run(["true"], check=False).returncode == 0


def by_wrapt(owner, name, seen):
    @wrapt.decorator
    def tracer(wrapped, instance, args, kwargs):
        seen.append(name)
        return wrapped(*args, **kwargs)

    setattr(owner, name, tracer(vars(owner)[name]))


def by_function(owner, name, seen):
    before = getattr(owner, name)

    @functools.wraps(before)
    def theirs(*args, **kwargs):
        seen.append(name)
        return before(*args, **kwargs)

    setattr(owner, name, theirs)


@each
@pytest.mark.parametrize("wrap", [by_wrapt, by_function])
def test_what_others_have_patched_first_works_and_is_restored(
    install, uninstall, owner, name, wrap, capfd
):
    seen = []
    wrap(owner, name, seen)
    theirs = vars(owner)[name]
    install()
    assert is_ours(vars(owner)[name])
    assert use(name, capfd)
    uninstall()
    assert vars(owner)[name] is theirs
    assert seen == [name]


@each
@pytest.mark.parametrize("wrap", [by_wrapt, by_function])
def test_what_others_patch_later_stays_when_ours_goes(install, uninstall, owner, name, wrap, capfd):
    seen = []
    install()
    wrap(owner, name, seen)
    theirs = vars(owner)[name]
    uninstall()
    assert vars(owner)[name] is theirs
    assert use(name, capfd)
    install()
    assert vars(owner)[name] is theirs
    assert use(name, capfd)
    uninstall()
    assert seen == [name, name]


@each
def test_what_others_have_put_back_themselves_is_not_thrown_away(
    install, uninstall, owner, name, capfd
):
    original = vars(owner)[name]
    install()
    setattr(owner, name, original)  # ours is gone
    seen = []
    by_function(owner, name, seen)
    theirs = vars(owner)[name]
    uninstall()
    assert vars(owner)[name] is theirs


def test_blocks_without_the_library_nest_and_overlap():
    installed = resilient_wsgi.install({"STDERR": "off"})
    try:
        first, second = testing.off(), testing.off()
        first.__enter__()
        second.__enter__()
        assert stack._bypassed
        first.__exit__(None, None, None)
        assert stack._bypassed
        assert resilient_wsgi.installation.current() is None
        second.__exit__(None, None, None)
        assert not stack._bypassed
        assert resilient_wsgi.installation.current() is installed
    finally:
        installed.uninstall()


DJANGO = """
import django, sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["resilient_wsgi.django"], RESILIENT_WSGI={"REQUEST": {"DATABASE_TIMEOUT": True}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
from django.core.handlers.wsgi import WSGIHandler
original = WSGIHandler.__call__
django.setup()
import resilient_wsgi
from django.db import connection
from resilient_wsgi import installation
from resilient_wsgi.core.patching import is_ours
from resilient_wsgi.django import database
connection.ensure_connection()
def state():
    return is_ours(WSGIHandler.__call__), database.limited in connection.execute_wrappers
print(*state())
with resilient_wsgi.off():
    print(*state(), WSGIHandler.__call__ is original)
print(*state())
installation.current().uninstall()
print(*state(), WSGIHandler.__call__ is original)
resilient_wsgi.install({"STDERR": "off"})
print(*state())
"""


def test_uninstalling_takes_away_what_is_in_django_and_installing_puts_it_there_again():
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "True True",
        "False False True",
        "True True",
        "False False True",
        "True False",
    ]
