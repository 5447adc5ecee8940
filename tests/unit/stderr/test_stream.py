"""The stream stands for `sys.stderr`: what Python and its libraries ask of it."""

import gc
import io
import os
import subprocess
import sys
import threading

import pytest

from resilient_wsgi.stderr import NonBlockingStream


@pytest.fixture
def stream(pipe):
    return NonBlockingStream(pipe.write_end)


def test_a_line_is_in_the_pipe_when_write_returns(stream, pipe):
    assert stream.write("hello\n") == 6
    assert pipe.read() == b"hello\n"


def test_anything_but_text_is_a_type_error_as_usual(stream, pipe):
    for wrong in (b"bytes", None, 3):
        with pytest.raises(TypeError):
            stream.write(wrong)
    assert pipe.read() == b""


def test_lone_surrogates_are_written_as_escapes(stream, pipe):
    assert stream.write("a\udc80b\n") == 4
    assert pipe.read() == b"a\\udc80b\n"


def test_print_writes_whole_lines(stream, pipe):
    print("one", "two", file=stream)
    print("three", end="", file=stream)
    assert pipe.read() == b"one two\n"
    print(file=stream)
    assert pipe.read() == b"three\n"


def test_flush_writes_the_beginning_of_a_line(stream, pipe):
    print("Continue? ", end="", file=stream, flush=True)
    assert pipe.read() == b"Continue? "


def test_prints_of_threads_do_not_interleave(stream, pipe):
    def work(name):
        for _ in range(200):
            print(name * 30, end="", file=stream)
            print(name * 30, file=stream)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    got = b""
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        got += pipe.read()
    while not stream.drain(0.05):
        got += pipe.read()
    got += pipe.read()
    lines = [line for line in got.splitlines() if b"dropped" not in line]
    assert {line for line in lines if line != bytes([line[0]]) * 60} == set()
    assert len(lines) + stream.dropped.lines == 8 * 200


def test_bytes_go_through_the_buffer_into_the_same_lines(stream, pipe):
    stream.write("text ")
    assert stream.buffer.write(b"and \xff bytes\n") == 12
    assert pipe.read() == b"text and \xff bytes\n"


def test_it_has_what_sys_stderr_has(stream, pipe):
    for name in [
        "buffer",
        "closed",
        "encoding",
        "errors",
        "fileno",
        "flush",
        "isatty",
        "line_buffering",
        "mode",
        "name",
        "newlines",
        "readable",
        "reconfigure",
        "seekable",
        "writable",
        "write",
        "writelines",
        "write_through",
    ]:
        assert hasattr(stream, name), name
    assert isinstance(stream, io.TextIOBase)
    assert (stream.encoding, stream.errors, stream.isatty(), stream.closed) == (
        "utf-8",
        "backslashreplace",
        False,
        False,
    )
    assert stream.fileno() == pipe.write_end
    stream.writelines(["a\n", "b\n"])
    stream.reconfigure(line_buffering=True)
    assert pipe.read() == b"a\nb\n"


def test_closing_it_leaves_it_usable(stream, pipe):
    stream.write("begun")
    stream.close()
    with stream:
        stream.write(", and on\n")
    assert pipe.read() == b"begun, and on\n"
    with pytest.raises(io.UnsupportedOperation):
        stream.detach()


LIBRARY = """
import contextlib, logging, sys, traceback, warnings
from resilient_wsgi.stderr import NonBlockingStream
stream = NonBlockingStream(2)
with contextlib.redirect_stderr(stream):
    warnings.warn("careful")
    logging.warning("resort")
    try:
        1 / 0
    except ZeroDivisionError:
        traceback.print_exc()
sys.stderr = stream
sys.excepthook(ValueError, ValueError("unhandled"), None)
"""


def test_redirect_warnings_traceback_and_logging_write_to_it(pipe):
    subprocess.run([sys.executable, "-c", LIBRARY], stderr=pipe.write_end, check=True, timeout=30)
    text = pipe.read().decode()
    for words in (
        "UserWarning: careful\n",
        "WARNING:root:resort\n",
        "ZeroDivisionError: division by zero\n",
        "unhandled\n",
    ):
        assert words in text


def test_faulthandler_dumps_into_its_descriptor(pipe):
    code = (
        "import faulthandler, os, sys\nfrom resilient_wsgi.stderr import NonBlockingStream\n"
        "sys.stderr = NonBlockingStream(2)\nfaulthandler.enable(file=sys.stderr)\nfaulthandler.dump_traceback(file=sys.stderr)\n"
    )
    subprocess.run([sys.executable, "-c", code], stderr=pipe.write_end, check=True, timeout=30)
    assert b"most recent call first" in pipe.read()


def test_its_repr_says_how_and_how_much_was_dropped(stream, pipe):
    assert (
        repr(stream) == f"<NonBlockingStream fd={pipe.write_end} via={stream.writer.via} dropped=0>"
    )


def test_what_waits_in_a_stream_that_is_forgotten_is_not_written_to_whatever_has_its_number_then(
    pipe, tmp_path
):
    stream = NonBlockingStream(pipe.write_end)
    pipe.fill()
    stream.write("waits")
    stream.flush()
    other = os.open(tmp_path / "database", os.O_RDWR | os.O_CREAT)
    os.dup2(other, pipe.write_end)
    del stream
    gc.collect()
    assert os.fstat(other).st_size == 0
    os.close(other)


def test_a_closed_descriptor_raises_nothing():
    read_end, write_end = os.pipe()
    stream = NonBlockingStream(write_end)
    os.close(read_end)
    os.close(write_end)
    assert stream.write("nobody\n") == 7
    assert stream.drain(0) is False
    assert not stream.isatty()
