"""Journals: counts that all processes of an instance add to."""

from __future__ import annotations

import fcntl
import os
import time

import pytest

from resilient_wsgi.errors import Unavailable
from resilient_wsgi.shm import instance, journal
from resilient_wsgi.shm.journal import Entry, Journal


@pytest.fixture(autouse=True)
def folder(base):
    return base


def read(name="outbound"):
    return Journal.read(instance.directory(), name)


def test_what_is_added_is_read_with_the_note_of_the_first():
    mine = Journal("outbound")
    assert mine.add({b"app.py:1": Entry(2, 1.5, b"api.example"), b"app.py:9": Entry(1)})
    assert mine.add({b"app.py:1": Entry(1, 3.5, b"other.example")})
    assert read() == {b"app.py:1": Entry(3, 3.5, b"api.example"), b"app.py:9": Entry(1, 0.0, b"")}
    with pytest.raises(FileNotFoundError):
        read("nothing")


def test_who_takes_entries_has_them_and_nobody_else():
    mine = Journal("handover")
    mine.add({b"2 a": Entry(3, 300.0), b"2 b": Entry(1), b"1 a": Entry(5)})
    assert mine.take(b"2 ") == {b"2 a": Entry(3, 300.0), b"2 b": Entry(1)}
    assert mine.take(b"2 ") == {}
    assert read("handover") == {b"1 a": Entry(5)}


def test_no_count_of_many_processes_is_lost_and_no_reader_sees_half_of_it():
    left = 4
    for _ in range(left):
        if os.fork() == 0:
            mine = Journal("outbound")
            for n in range(50):
                while not mine.add({b"all": Entry(1), b"%d" % (n % 7): Entry(1)}, patience=5.0):
                    pass
            os._exit(0)
    while left:
        try:
            found = read()
        except FileNotFoundError:
            found = {}
        if found:  # an empty one is there before the first is written
            assert found[b"all"].count == sum(e.count for k, e in found.items() if k != b"all")
        left -= os.waitpid(-1, os.WNOHANG)[0] != 0
    assert read()[b"all"].count == 200


@pytest.fixture
def held():
    """Another process writes, and has stopped in the middle."""
    Journal("outbound").add({b"before": Entry(1)})
    fd = instance.directory().open("outbound")
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


def test_another_writer_is_waited_for_no_longer_than_asked_for(held):
    mine = Journal("outbound")
    start = time.monotonic()
    assert not mine.add({b"key": Entry(1)})
    assert mine.take() == {}
    assert time.monotonic() - start < 0.5
    assert not mine.add({b"key": Entry(1)}, patience=0.3)
    assert time.monotonic() - start >= 0.3
    assert read() == {b"before": Entry(1)}


def test_without_room_what_is_there_stays(monkeypatch):
    mine = Journal("outbound")
    mine.add({b"before": Entry(1)})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for act in (lambda: mine.add({b"key": Entry(1)}), mine.take):
        with pytest.raises(Unavailable, match="no room"):
            act()
    assert read() == {b"before": Entry(1)}
    assert instance.directory().names() == ["outbound"]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"x" * 500, journal.MAGIC + b"\xff" * 9, journal.MAGIC + b"\xff" * 99]
)
def test_what_is_no_journal_has_no_entries_and_is_replaced(data):
    fd = instance.directory().open("outbound", os.O_RDWR | os.O_CREAT)
    os.write(fd, data)
    os.close(fd)
    assert read() == {}
    Journal("outbound").add({b"key": Entry(1)})
    assert read() == {b"key": Entry(1)}


def test_beyond_a_thousand_the_rarest_are_dropped():
    mine = Journal("outbound")
    mine.add({b"%d" % n: Entry(n) for n in range(1200)})
    found = read()
    assert len(found) == journal.MOST_ENTRIES
    assert min(entry.count for entry in found.values()) == 200


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_stands_in_its_place_is_not_used(kind):
    path = f"{instance.directory().path}/outbound"
    {
        "symlink": lambda: os.symlink("/etc/passwd", path),
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: os.mkdir(path),
    }[kind]()
    with pytest.raises((OSError, Unavailable)):
        Journal("outbound").add({b"key": Entry(1)})
    with pytest.raises((OSError, Unavailable)):
        read()
