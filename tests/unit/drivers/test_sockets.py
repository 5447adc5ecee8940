"""The sockets of drivers: what is read and written is the same, and other threads notice nothing."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.drivers.exceptions import TimedOut

SIZE = 3_000_000


@pytest.fixture
def pair(drivers):
    ours, theirs = socket.socketpair()
    drivers._patched_with().sockets.adopt(ours, "redis")
    yield ours, theirs
    ours.close()
    theirs.close()


def reading(sock, size):
    """Read so much in a thread of its own; return the thread, and what it has read."""
    found = bytearray()

    def read():
        while len(found) < size:
            piece = sock.recv(65536)
            if not piece:
                return
            found.extend(piece)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, found


@pytest.mark.parametrize("own", [None, 60])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_all_that_is_written_arrives(pair, own, kind):
    ours, theirs = pair
    ours.settimeout(own)
    data = bytes(range(256)) * (SIZE // 256)
    thread, found = reading(theirs, len(data))
    with deadline.limit(30):
        assert ours.sendall(kind(data)) is None
    thread.join(10)
    assert found == data
    assert ours.gettimeout() == own


@pytest.mark.parametrize("own", [None, 60])
def test_what_is_read_is_what_was_sent(pair, own):
    ours, theirs = pair
    ours.settimeout(own)
    theirs.sendall(b"abcdef")
    buffer = bytearray(2)
    with deadline.limit(30):
        assert ours.recv(2) == b"ab"
        assert (ours.recv_into(buffer), bytes(buffer)) == (2, b"cd")
        assert ours.recv(1, socket.MSG_PEEK) == b"e"
        assert ours.makefile("rb").read(2) == b"ef"
        theirs.close()
        assert ours.recv(1) == b""


def test_a_write_that_nobody_reads_ends(pair):
    ours, _ = pair
    began = time.monotonic()
    with pytest.raises(TimedOut), deadline.limit(0.2):
        ours.sendall(b"x" * SIZE)
    assert 0.19 <= time.monotonic() - began < 2
    assert ours.gettimeout() is None


def test_a_socket_that_does_not_block_stays_so(pair):
    ours, _ = pair
    ours.setblocking(False)
    with pytest.raises(BlockingIOError), deadline.limit(5):
        ours.recv(1)


def test_a_socket_that_is_closed_says_so(pair):
    ours, _ = pair
    ours.close()
    with pytest.raises(OSError) as raised, deadline.limit(5):
        ours.recv(1)
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


def test_another_thread_that_writes_meanwhile_notices_nothing(pair):
    ours, theirs = pair
    errors, stop = [], threading.Event()

    def write():
        while not stop.is_set():
            try:
                ours.sendall(b"x" * 100)
            except OSError as error:
                errors.append(error)
                return

    reading(theirs, 10**12)
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    until = time.monotonic() + 1
    with deadline.limit(30):
        while time.monotonic() < until:
            theirs.sendall(b"y")
            assert ours.recv(1) == b"y"
    stop.set()
    writer.join(5)
    assert errors == []
    assert ours.gettimeout() is None


def test_one_without_a_deadline_waits_as_long_as_it_has_to(pair):
    ours, theirs = pair
    got = []
    reader = threading.Thread(target=lambda: got.append(ours.recv(1)), daemon=True)
    reader.start()
    with deadline.limit(0.1):
        ours.send(b"a")
    time.sleep(0.3)
    assert got == []
    theirs.send(b"z")
    reader.join(5)
    assert got == [b"z"]


def test_what_begins_after_the_deadline_shares_one_moment_with_its_answer(pair):
    ours, theirs = pair
    with deadline.limit(0):
        began = time.monotonic()
        ours.sendall(b"rollback")
        with pytest.raises(TimedOut):
            while True:  # an answer that never ends
                theirs.sendall(b"x")
                ours.recv(1)
                time.sleep(0.01)
        assert 0.1 < time.monotonic() - began < 2
