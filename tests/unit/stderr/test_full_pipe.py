"""A pipe that nobody reads: nothing waits, nothing is torn, and what is lost is counted and said."""

import contextlib
import errno
import functools
import os
import re
import socket
import threading

import pytest

from resilient_wsgi import events
from resilient_wsgi.stderr import NonBlockingStream
from resilient_wsgi.stderr.wait_policy import NeverWait
from resilient_wsgi.testing import FakeClock

# nothing is waited for by a fake clock
Impatient = functools.partial(NonBlockingStream, wait_policy=NeverWait)
NOTICE = re.compile(
    rb"resilient_wsgi: \[RW401\] (\d+) lines \((\d+) bytes\) dropped in \d+\.\d s by process \d+\n"
)


@pytest.fixture
def clock():
    return FakeClock()


def numbered(count, size=100):
    return [f"{number:09}".ljust(size - 1, ".") + "\n" for number in range(count)]


def read_back(stream, pipe, clock):
    """Return all lines that come out of the pipe while the stream writes what waits."""
    got = b""
    while True:
        chunk = pipe.read()
        got += chunk
        clock.now += 10
        stream.flush()
        if not chunk and not stream.writer.waiting_bytes:
            return got


def told(text):
    """Return what the notices in it say together, and the text without them."""
    said = [(int(lines), int(size)) for lines, size in NOTICE.findall(text)]
    return (sum(lines for lines, _ in said), sum(size for _, size in said)), NOTICE.sub(b"", text)


@pytest.mark.parametrize("keep", ["newest", "oldest"])
def test_every_line_is_read_or_counted_and_said(pipe, clock, keep):
    stream = Impatient(pipe.write_end, buffer_bytes=20_000, keep=keep, system=clock)
    lines = numbered(5000)
    for line in lines:
        stream.write(line)
    said, got = told(read_back(stream, pipe, clock))
    rest = got.decode().splitlines(keepends=True)
    assert [line for line in rest if line not in lines] == []
    assert rest == sorted(rest)
    assert said == (len(lines) - len(rest), 100 * (len(lines) - len(rest)))
    assert stream.dropped == said
    # of 100 bytes the pipe takes 655 or so, the buffer nearly 200
    assert (lines[700] in rest) is (keep == "oldest")
    assert (lines[4900] in rest) is (keep == "newest")


def test_the_buffer_keeps_to_its_limit(pipe, clock):
    stream = Impatient(pipe.write_end, buffer_bytes=10_000, system=clock)
    pipe.fill()
    for line in numbered(3000):
        stream.write(line)
        assert stream.writer.waiting_bytes <= 10_000 + 64 * 100
    assert stream.writer.waiting_bytes > 5_000


def test_no_buffer_at_all_still_counts(pipe, clock):
    stream = Impatient(pipe.write_end, buffer_bytes=0, system=clock)
    pipe.fill()
    for line in numbered(64):
        stream.write(line)
    assert stream.writer.waiting_bytes + stream.dropped.size_bytes == 6400
    clock.now += 1
    stream.flush()
    assert stream.dropped == (64, 6400)


def test_what_was_dropped_is_said_before_the_next_line_although_nothing_waits(pipe, clock):
    stream = Impatient(pipe.write_end, buffer_bytes=0, system=clock)
    pipe.fill()
    for line in numbered(200):
        stream.write(line)
        clock.now += 0.06
    pipe.read()
    clock.now += 0.06
    stream.write("next\n")
    said, rest = told(pipe.read())
    assert said == (200, 20_000)
    assert rest == b"next\n"


def test_the_time_in_the_report_is_that_from_the_first_drop_to_the_last(pipe, clock):
    seen = []
    unsubscribe = events.subscribe(seen.append)
    try:
        stream = Impatient(pipe.write_end, buffer_bytes=1000, system=clock)
        for began in (1100.0, 1200.0):  # long after the process began, and after the report before
            pipe.fill()
            clock.now = began
            for line in numbered(51):
                stream.write(line)
                clock.now += 0.1
            clock.now += 60  # nothing is written
            reports = NOTICE.findall(read_back(stream, pipe, clock))
            assert len(reports) == 1
    finally:
        unsubscribe()
    times = [event.seconds for event in seen if isinstance(event, events.LinesDropped)]
    assert times == [pytest.approx(4.0, abs=0.21)] * 2  # ten lines fit into the buffer first


def test_nothing_passes_what_waits_when_the_write_method_is_chosen_again(pipe, clock):
    stream = Impatient(pipe.write_end, system=clock)
    pipe.fill()
    stream.write("first\n")
    stream.writer.choose()
    pipe.read()
    clock.now += 1
    stream.write("second\n")
    assert pipe.read() == b"first\nsecond\n"


def test_after_a_full_pipe_there_is_no_system_call_until_the_gate_opens(pipe):
    calls = []

    class Counting(FakeClock):
        def pwritev(self, *arguments):
            calls.append(arguments)
            raise BlockingIOError(errno.EAGAIN, "full")

    system = Counting()
    stream = Impatient(pipe.write_end, system=system)
    for _ in range(50):
        stream.write("x\n")
    first = len(calls)
    assert first <= 2
    system.now += 0.06
    stream.write("x\n")
    assert len(calls) == first + 1


def test_what_a_signal_handler_raises_in_the_middle_of_a_write_gets_through(pipe):
    """`TimeoutError` is an `OSError`, too."""

    class Interrupted(FakeClock):
        def pwritev(self, *arguments):
            raise TimeoutError("the app's own limit")

    stream = Impatient(pipe.write_end, system=Interrupted())
    for write in (lambda: stream.write("line\n"), lambda: print("line", file=stream)):
        with pytest.raises(TimeoutError, match="own limit"):
            write()
    assert stream.dropped == (0, 0)


def test_the_event_says_what_was_dropped(pipe, clock):
    seen = []
    unsubscribe = events.subscribe(seen.append)
    try:
        stream = Impatient(pipe.write_end, buffer_bytes=0, system=clock)
        pipe.fill()
        for line in numbered(64):
            stream.write(line)
        read_back(stream, pipe, clock)
    finally:
        unsubscribe()
    dropped = [event for event in seen if isinstance(event, events.LinesDropped)]
    assert sum(event.lines for event in dropped) == 64
    assert sum(event.size_bytes for event in dropped) == 6400


def test_a_reader_that_is_gone_raises_nothing_and_is_counted(pipe, clock):
    stream = Impatient(pipe.write_end, buffer_bytes=0, system=clock)
    pipe.close_reader()
    for line in numbered(500):
        stream.write(line)
    clock.now += 10
    stream.flush()
    assert stream.dropped == (500, 50_000)


@pytest.mark.parametrize("size", [4097, 12_000, 60_000])
def test_a_line_longer_than_a_page_is_written_whole_where_there_is_room(pipe, size):
    stream = NonBlockingStream(pipe.write_end)
    stream.write("x" * size + "\n")
    print("y" * size, file=stream)
    assert pipe.read() == b"x" * size + b"\n" + (b"y" * size + b"\n" if size < 20_000 else b"")
    stream.drain(1)
    assert size < 20_000 or pipe.read() == b"y" * size + b"\n"


def test_a_long_line_waits_for_room_rather_than_be_mixed_with_other_processes(pipe):
    stream = Impatient(pipe.write_end)
    os.write(pipe.write_end, b"z" * 50_000)
    stream.write("x" * 20_000 + "\n")
    assert pipe.read() == b"z" * 50_000
    assert stream.drain(5)
    assert pipe.read() == b"x" * 20_000 + b"\n"


def test_a_socket_that_keeps_messages_gets_long_lines_in_marked_parts():
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reading, writing:
        stream = NonBlockingStream(writing.fileno())
        stream.write("ä" * 5000 + "\n")
        reading.setblocking(False)
        pieces = []
        with contextlib.suppress(BlockingIOError):
            while True:
                pieces.append(reading.recv(1 << 16))
        assert all(len(piece) <= 4096 for piece in pieces)
        assert all(piece.endswith(b" [...]\n") for piece in pieces[:-1])
        assert all(piece.startswith(b"[...] ") for piece in pieces[1:])
        assert b"".join(pieces).replace(b" [...]\n[...] ", b"").decode() == "ä" * 5000 + "\n"


def test_many_long_lines_are_bounded_at_once(pipe, clock):
    stream = Impatient(pipe.write_end, buffer_bytes=100_000, system=clock)
    pipe.fill()
    for _ in range(60):
        stream.write("ö" * 500_000 + "\n")
        assert stream.writer.waiting_bytes <= 100_000
    print("x" * 500_000, file=stream)
    assert stream.writer.waiting_bytes <= 100_000


def test_a_line_that_never_seems_to_end_is_written_when_it_does(pipe, clock):
    stream = Impatient(pipe.write_end, system=clock)
    for _ in range(100):
        stream.write("x" * 100)
    stream.write("\n")
    assert pipe.read() == b"x" * 10_000 + b"\n"


def test_draining_waits_for_the_reader_for_a_bounded_time(pipe):
    stream = Impatient(pipe.write_end)
    pipe.fill()
    stream.write("late\n")
    assert stream.drain(0.05) is False
    threading.Timer(0.05, pipe.read).start()
    assert stream.drain(30) is True
    assert pipe.read() == b"late\n"


def test_lines_that_arrive_while_nobody_can_put_them_in_order_are_bounded_and_counted(pipe, clock):
    """As when a thread holds the token and does not get to run."""
    stream = Impatient(pipe.write_end, buffer_bytes=20_000, system=clock)
    pipe.fill()
    stream.write("first\n")
    with stream.writer.buffer().token:
        for line in numbered(10_000):
            stream.write(line)
        assert stream.writer.waiting_bytes < 500_000
    assert stream.dropped.lines > 5000
    said, got = told(read_back(stream, pipe, clock))
    assert said == stream.dropped
    assert got.count(b"\n") + said[0] == 10_001
