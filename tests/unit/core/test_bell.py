"""A wait that another thread ends, without `threading`."""

from __future__ import annotations

import threading

import pytest

from resilient_wsgi.core.bell import Bell


def test_it_ends_a_wait_and_is_silent_again():
    bell = Bell()
    threading.Timer(0.05, bell.ring).start()
    assert bell.wait(20)
    assert not bell.wait(0.01)


def test_a_ring_before_the_wait_is_kept_and_two_are_one():
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)


def test_it_asks_threading_for_no_lock(monkeypatch):
    """They are gevent's, where it has replaced them since this thread was started."""
    bell = Bell()
    monkeypatch.setattr(threading, "_allocate_lock", lambda: pytest.fail("asks for a lock"))
    with pytest.raises(pytest.fail.Exception):
        threading.Event().wait(0)
    assert not bell.wait(0.01)
    bell.ring()
    assert bell.wait(0)
