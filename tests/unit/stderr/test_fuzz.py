"""Random writers, sizes, texts, forks, signals and readers: never blocks, never raises, and the
counts add up.
"""

import contextlib
import functools
import os
import re
import signal
import threading
import time
import traceback

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from resilient_wsgi.stderr import NonBlockingStream
from resilient_wsgi.stderr.wait_policy import NeverWait
from resilient_wsgi.testing import FakeClock

Impatient = functools.partial(NonBlockingStream, wait_policy=NeverWait)
NOTICE = re.compile(
    rb"resilient_wsgi: \[RW401\] (\d+) lines \((\d+) bytes\) dropped in \d+\.\d s by process \d+\n"
)
QUICK = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
LONGEST_WRITE = 0.05

texts = st.one_of(
    st.text(st.characters(), max_size=200),  # lone surrogates too
    st.integers(0, 1 << 20).map(lambda size: "ö" * size + "\n"),
    st.integers(4080, 4110).map(lambda size: "x" * size + "\n"),
    st.text("ab\n\ud800é", max_size=30),
)
steps = st.one_of(
    st.tuples(st.just("write"), texts),
    st.tuples(st.just("bytes"), st.binary(max_size=5000).filter(lambda data: b"[...]" not in data)),
    st.tuples(st.just("read"), st.integers(1, 100_000)),
    st.tuples(st.just("wait"), st.floats(0, 0.2)),
    st.tuples(st.just("flush"), st.none()),
)


class Pipe:
    def __enter__(self):
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.got = b""
        return self

    def __exit__(self, *_):
        os.close(self.reading)
        os.close(self.writing)

    def read(self, size=1 << 20):
        with contextlib.suppress(BlockingIOError):
            self.got += os.read(self.reading, size)

    def drain(self, stream):
        while True:
            self.read()
            if stream.drain(0.05):
                break
        self.read()


def waited_for_a_processor():
    """Return for how many seconds this thread has been ready to run and was not let: a busy machine
    is not what is looked for.
    """
    with open("/proc/thread-self/schedstat", encoding="ascii") as file:
        return int(file.read().split()[1]) / 1e9


def quickly(call, *arguments):
    """Call it; fail if it took too long, by the clock, processor time and all sleep in it, but for
    what others took.
    """
    delay, begin = waited_for_a_processor(), time.monotonic()
    result = call(*arguments)
    seconds = time.monotonic() - begin
    seconds -= waited_for_a_processor() - delay
    assert seconds < LONGEST_WRITE
    return result


@pytest.mark.parametrize("keep", ["newest", "oldest"])
@given(st.lists(steps, max_size=60), st.sampled_from([0, 100, 5000, 300_000]))
@example(
    [("write", "ö" * (1 << 20) + "\n")] * 60 + [("wait", 0.2), ("write", "x\n"), ("flush", None)],
    300_000,
)
# draining drops after its notice
@example([("write", "ö" * 32663 + "\n"), ("write", "ö" * 30622 + "\n")], 0)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of an example that fails
@QUICK
def test_whatever_one_thread_writes_it_never_blocks_and_the_bytes_add_up(
    keep, script, buffer_bytes
):
    with Pipe() as pipe:
        system = FakeClock()
        stream = Impatient(pipe.writing, buffer_bytes=buffer_bytes, keep=keep, system=system)
        written = 0
        for name, value in script:
            if name == "write":
                assert quickly(stream.write, value) == len(value)
                written += len(value.encode("utf-8", "backslashreplace"))
            elif name == "bytes":
                assert quickly(stream.buffer.write, value) == len(value)
                written += len(value)
            elif name == "read":
                pipe.read(value)
            elif name == "wait":
                system.now += value
            else:
                quickly(stream.flush)
        pipe.drain(stream)
        said = [(int(lines), int(size)) for lines, size in NOTICE.findall(pipe.got)]
        assert (sum(lines for lines, _ in said), sum(size for _, size in said)) == stream.dropped
        rest = NOTICE.sub(b"", pipe.got)
        marks = rest.count(b" [...]\n") + rest.count(b"[...] ")
        if not marks and stream.dropped.size_bytes == 0:
            assert len(rest) == written
        if stream.dropped.size_bytes == 0:
            assert len(rest.replace(b" [...]\n", b"").replace(b"[...] ", b"")) == written
        if not marks:
            assert len(rest) + stream.dropped.size_bytes >= written


@given(
    st.lists(st.lists(st.integers(1, 4095), min_size=1, max_size=40), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 20_000),
)
@settings(QUICK, max_examples=25)
def test_whatever_many_threads_write_no_line_is_torn_and_the_lines_add_up(
    writers, reads, buffer_bytes
):
    with Pipe() as pipe:
        stream = Impatient(pipe.writing, buffer_bytes=buffer_bytes)

        def work(name, sizes):
            for size in sizes:
                print(chr(97 + name) * size, file=stream)

        threads = [
            threading.Thread(target=work, args=(name, sizes)) for name, sizes in enumerate(writers)
        ]
        for thread in threads:
            thread.start()
        while reads and any(thread.is_alive() for thread in threads):
            pipe.read()
        for thread in threads:
            thread.join()
        pipe.drain(stream)
        lines = NOTICE.sub(b"", pipe.got).splitlines()
        assert [line for line in lines if len(set(line)) != 1] == []
        assert {len(line) for line in lines} <= {size for sizes in writers for size in sizes}
        assert len(lines) + stream.dropped.lines == sum(map(len, writers))


def in_the_child(stream, number):
    """Write some lines, and end whatever happens: a child that returned from here would go on with
    the test, and fork.
    """
    code = 2
    try:
        for _ in range(100):
            print("c" * 500, number, file=stream)
        stream.drain(0)
        code = stream.dropped.lines + stream.writer.waiting_bytes // 503 > 100
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@given(
    st.lists(st.sampled_from(["write", "fork", "read", "partial"]), max_size=12),
    st.integers(0, 3000),
)
@settings(QUICK, max_examples=25)
def test_forks_in_between_write_each_line_once(script, buffer_bytes):
    with Pipe() as pipe:
        stream = Impatient(pipe.writing, buffer_bytes=buffer_bytes)
        lines = 0
        children_dropped = 0
        for number, step in enumerate(script):
            if step == "read":
                pipe.read()
            elif step == "partial":
                print("partial ", end="", file=stream)
            elif step == "write":
                for _ in range(100):
                    print("w" * 500, number, file=stream)
                lines += 100
            else:
                pid = os.fork()
                if not pid:
                    in_the_child(stream, number)
                assert os.waitpid(pid, 0)[1] == 0
                children_dropped += 100
        pipe.drain(stream)
        got = NOTICE.sub(b"", pipe.got).decode()
        own = re.findall(r"w{500} \d+\n", got)
        assert len(own) + stream.dropped.lines == lines
        assert len(re.findall(r"c{500} \d+\n", got)) <= children_dropped


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60), st.floats(0.0003, 0.002))
@settings(QUICK, max_examples=15)
def test_signal_handlers_that_write_in_between_lose_nothing(sizes, interval):
    with Pipe() as pipe:
        stream = Impatient(pipe.writing, buffer_bytes=10_000)
        handled = []  # handlers interrupt each other, too: += would lose some

        def handler(*_):
            handled.append(None)
            stream.write("handler\n")

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        try:
            for size in sizes * 20:
                stream.write("m" * size + "\n")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        pipe.drain(stream)
        lines = NOTICE.sub(b"", pipe.got).splitlines()
        assert [line for line in lines if line != b"handler" and set(line) != {109}] == []
        assert len(lines) + stream.dropped.lines == len(sizes) * 20 + len(handled)
