"""Events are counted, logged in one line, and passed to subscribers; no one can be hurt by it."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading

import pytest

from resilient_wsgi import events
from resilient_wsgi.core.guard import Guard
from resilient_wsgi.events import ClientGone, LinesDropped
from resilient_wsgi.testing import FakeClock, captured_events

DROPPED = LinesDropped(fd=2, lines=12, size_bytes=1300, seconds=4.5)


def test_an_event_is_logged_in_one_line_at_its_level(caplog):
    events.emit(DROPPED)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("resilient_wsgi.stderr", "WARNING")
    assert record.getMessage() == "[RW401] 12 lines (1300 bytes) dropped in 4.5 s on descriptor 2"


def test_where_logging_is_not_configured_the_line_says_who_speaks():
    code = (
        "from resilient_wsgi import events; "
        "events.emit(events.LinesDropped(fd=2, lines=12, size_bytes=1300, seconds=4.5))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    line = (
        r"[\d-]{10} [\d:]{8} WARNING resilient_wsgi\.stderr: "
        r"\[RW401\] 12 lines \(1300 bytes\) dropped in 4\.5 s on descriptor 2\n"
    )
    assert re.fullmatch(line, done.stderr)


def test_an_event_below_the_level_of_its_logger_is_counted_and_not_logged(caplog):
    caplog.set_level(logging.INFO)
    before = events.counts().get("ClientGone", 0)
    events.emit(ClientGone("GET", "/"))
    assert events.counts()["ClientGone"] == before + 1
    assert not caplog.records


def test_counts_of_eight_threads_add_up():
    logging.getLogger("resilient_wsgi.stderr").setLevel(logging.ERROR)
    try:
        before = events.counts().get("LinesDropped", 0)
        threads = [
            threading.Thread(target=lambda: [events.emit(DROPPED) for _ in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert events.counts()["LinesDropped"] == before + 4000
    finally:
        logging.getLogger("resilient_wsgi.stderr").setLevel(logging.NOTSET)


def test_a_forked_process_counts_from_zero():
    events.emit(DROPPED)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if events.counts() == {} else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_subscriber_is_called_until_it_unsubscribes():
    with captured_events() as happened:
        events.emit(DROPPED)
    events.emit(DROPPED)
    assert happened == [DROPPED]


def test_a_subscriber_that_raises_hurts_nobody_and_is_logged(caplog, monkeypatch):
    monkeypatch.setattr(events._bus, "guard", Guard("events"))

    def broken(event):
        raise RuntimeError("no")

    unsubscribe = events.subscribe(broken)
    with captured_events() as happened:
        events.emit(DROPPED)
        events.emit(DROPPED)
    unsubscribe()
    assert happened == [DROPPED, DROPPED]
    assert [r.name for r in caplog.records].count("resilient_wsgi.events") == 1


def test_a_subscriber_that_cannot_be_called_is_rejected():
    with pytest.raises(TypeError, match="'log' cannot be called"):
        events.subscribe("log")


def test_the_guard_logs_once_a_minute_and_counts_the_rest(caplog):
    clock = FakeClock()
    guard = Guard("test", clock)
    for _ in range(3):
        with guard:
            raise ValueError("x")
    clock.advance(61)
    with guard:
        raise ValueError("x")
    assert guard.caught == 4
    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "[RW006] error inside resilient_wsgi (1 so far)",
        "[RW006] error inside resilient_wsgi (4 so far)",
    ]


def test_the_guard_lets_the_end_of_the_process_pass():
    with pytest.raises(SystemExit), Guard("test"):
        raise SystemExit
