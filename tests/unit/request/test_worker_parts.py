"""The memory that the workers of an instance share, and what stands in it."""

from __future__ import annotations

import errno
import os
import re
import threading
import time

import pytest

from resilient_wsgi import events, servers
from resilient_wsgi.core.system import PROCESS
from resilient_wsgi.request import component
from resilient_wsgi.request.running import running
from resilient_wsgi.request.worker_parts import WorkerParts
from resilient_wsgi.servers import Identity, Server
from resilient_wsgi.settings.options import Request
from resilient_wsgi.shm import instance, scoreboard
from resilient_wsgi.shm.layout import NAME
from resilient_wsgi.shm.opening import USUAL_THREADS
from resilient_wsgi.testing import captured_events


class Worker(Server):
    def __init__(self, number=3):
        super().__init__()
        self.number = number
        self.master_pid = os.getpid()

    def identity(self):
        return Identity("worker", self.number, os.getpid(), self.master_pid)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the private directories are made."""
    instance.leave()
    monkeypatch.setattr("resilient_wsgi.shm.folders._wanted", lambda _: [str(tmp_path)])
    servers.use(Worker())
    yield tmp_path
    instance.leave()
    servers.use(None)


def files(folder):
    """What lies in the directory, without what `resilient-wsgi stacks` asks by."""
    return sorted(path.name for path in folder.glob("*/*") if not path.name.startswith("stacks-"))


def began(options=None, number=3):
    process = WorkerParts(options or Request(), Worker(number), watching=False)
    process.start()
    return process


def test_a_killed_worker_is_told_of_once_by_whoever_comes_next(dead):
    first = began()
    row = first.row
    thread = running.add_thread().row
    thread.begin(100.0, 130.0, b"POST", b"/pay", 100.0)
    thread.note("api.example (body)")
    row.seen = 131.0
    row.write_stacks("thread 'MainThread', in POST /pay", 128.5)
    pid = os.getpid()
    row.pid, row.started = dead
    scoreboard.forget()
    with captured_events() as happened:
        for number in (1, 2):
            process = began(number=number)
            assert process.announcer.wait(10)
            process.stop()
    (event,) = happened
    assert str(event) == (
        f"worker 3 (pid {dead[0]}) was killed in POST /pay after 31.0 s, waiting for api.example "
        "(body)\n"
        "stacks taken 2.5 s earlier:\nthread 'MainThread', in POST /pay"
    )
    assert os.getpid() == pid


def test_what_is_too_long_for_its_place_says_so(dead):
    process = began()
    row = process.row
    thread = running.add_thread().row
    thread.begin(100.0, 130.0, b"GET", b"/" + 70 * "\u00e9".encode(), 100.0)
    thread.note(100 * "x")
    row.write_stacks(
        "\n".join(f"  function_{n} (/srv/shop/views.py:{n})" for n in range(1000)), 101.0
    )
    (found,) = row.requests()
    assert found.what == "GET /" + 51 * "\u00e9" + "[...]"
    assert found.doing == 80 * "x" + "[...]"
    *lines, last = row.stacks().text.split("\n")
    assert last == "[...]"
    assert lines == [f"  function_{n} (/srv/shop/views.py:{n})" for n in range(len(lines))]
    process.stop()


def test_an_orderly_end_leaves_nothing(folder):
    process = began()
    assert files(folder) == [NAME]
    with captured_events() as happened:
        process.stop()
        again = began()
        assert again.announcer.wait(10)
        again.stop()
    assert happened == []
    assert list(folder.iterdir()) == []


def test_the_last_one_that_ends_removes_it(folder):
    process = began()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        other = began(number=4)
        os.write(write, b"x")
        time.sleep(0.5)
        other.stop()
        os._exit(0)
    os.read(read, 1)
    process.stop()
    assert files(folder) == [NAME]
    assert os.waitpid(child, 0)[1] == 0
    assert files(folder) == []


def test_threads_beyond_those_that_have_a_place_are_served_without(folder):
    process = began()
    slots = [in_thread(running.add_thread) for _ in range(USUAL_THREADS + 2)]
    assert [slot.row is not None for slot in slots] == [True] * USUAL_THREADS + [False] * 2
    process.stop()


def in_thread(function):
    """Call it in a new thread that does not end yet: another thread would have its name."""
    found, ends = [], threading.Event()

    def run():
        found.append(function())
        began.set()
        ends.wait(30)

    began = threading.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert began.wait(30)
    _open.append(ends)
    return found[0]


_open = []


@pytest.fixture(autouse=True)
def threads_end():
    yield
    while _open:
        _open.pop().set()


def test_after_its_end_nobody_writes_into_a_place_that_may_be_another_s():
    process = began()
    slot = running.add_thread()
    assert slot.row is not None
    process.stop()
    assert slot.row is None
    again = began()
    assert slot.row is not None
    again.stop()


def test_a_path_of_any_length_and_any_characters_fits():
    process = began()
    thread = running.add_thread().row
    thread.begin(1.0, 31.0, b"GET", ("/" + "ü" * 1000).encode("latin-1"), 1.0)
    (found,) = process.row.requests()
    assert found.what.startswith("GET /")
    thread.clear()
    assert list(process.row.requests()) == []
    process.stop()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_without_room_everything_else_works_and_status_says_why(
    folder, caplog, monkeypatch, number
):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    process = began()
    assert process.row is None
    assert running.add_thread().row is None
    assert re.search(f"no room in {folder} for [0-9]+ KiB: {os.strerror(number)}", process.unshared)
    assert "killed workers will not be reported" in caplog.text
    monkeypatch.setattr(component.Request.here(), "parts", process)
    assert component.status_lines()[-1].startswith("killed workers are not reported: no room in")
    process.stop()
    assert files(folder) == []


def test_a_child_that_is_forked_starts_clean():
    process = began()
    child = os.fork()
    if child == 0:
        mine = process._process is PROCESS.token()
        process.start()
        os._exit(0 if not mine and process._process is PROCESS.token() else 1)
    assert os.waitpid(child, 0)[1] == 0
    # it has not given back
    assert sum(bool(row.pid and not row.released) for row in process.board.workers) == 2
    process.stop()


def test_events_are_counted_in_the_row_and_the_count_outlives_the_worker(dead):
    event = events.LinesDropped(2, 1, 1, 1.0)
    first = began()
    row, number = first.row, first.board.counter("LinesDropped")
    for _ in range(3):
        events.publish(event)
    assert row.counter(number) == 3
    first._stop_counting()
    row.pid, row.started = dead  # it was killed
    scoreboard.forget()
    second = began()  # its successor, in the same row
    events.publish(event)
    assert second.row.counter(number) == 4
    second.stop()
    events.publish(event)
