"""Calls that may hang: nobody waits for them longer than they were given."""

from __future__ import annotations

import threading

from resilient_wsgi.threads import bounded_call


def test_where_the_interpreter_starts_no_thread_any_more_callbacks_are_bounded_nevertheless(
    monkeypatch,
):
    def refuse(*_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(bounded_call._thread, "start_new_thread", refuse)
    gate, ended = threading.Event(), threading.Event()
    assert not bounded_call.bounded(lambda: gate.wait() and ended.set(), 0.05)
    gate.set()
    assert ended.wait(10)
    assert bounded_call.bounded(lambda: 1 / 0, 10)  # logged, and it came back


def test_where_no_thread_can_be_had_at_all_the_call_is_left_out(monkeypatch):
    monkeypatch.setattr(bounded_call, "start_thread", lambda _: False)
    called = []
    assert not bounded_call.bounded(lambda: called.append(1), 10)
    assert called == []
