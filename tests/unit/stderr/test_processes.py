"""Forks, signals, threads, the end of the interpreter: in real child processes."""

import re
import subprocess
import sys
import textwrap

import pytest

START = """
import os, signal, sys, threading, time
from resilient_wsgi.stderr import NonBlockingStream
stream = NonBlockingStream(2)

def fill(fd):
    os.set_blocking(fd, False)
    try:
        while True: os.write(fd, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(fd, True)
"""


def run(code, pipe, *, read=True, timeout=60, arguments=()):
    """Run code in a fresh interpreter, with the pipe as its standard error; return the process and
    what it wrote there.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", START + textwrap.dedent(code), *arguments],
        stderr=pipe.write_end,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    return output, pipe.read().decode() if read else ""


def test_what_waits_at_a_fork_is_written_by_the_parent_alone(pipe):
    code = """
        import fcntl
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        stream = NonBlockingStream(writing)
        fill(writing)
        print("begun by the parent", end="", file=stream)
        stream.flush()
        for _ in range(200): print("parent waits", file=stream)
        print("begun again", end="", file=stream)
        pid = os.fork()
        if not pid:
            assert (stream.writer.waiting_bytes, stream.dropped) == (0, (0, 0)), stream
            print("child", file=stream)
            while os.read(reading, 1 << 16) and not stream.drain(0.01): pass
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        text = b""
        while not stream.drain(0.1):
            text += os.read(reading, 1 << 20)
        text += os.read(reading, 1 << 20)
        sys.stdout.write(text.replace(b"x", b"").decode())
    """
    output, _ = run(code, pipe)
    assert output.count("child") == 1
    assert output.count("parent waits") == 200
    assert output.endswith("begun again")
    assert "begun againchild" not in output


def test_a_fork_that_python_does_not_see_is_noticed_as_well(pipe):
    code = """
        import ctypes
        fill(2)
        for _ in range(100): print("parent", file=stream)
        pid = ctypes.CDLL(None).fork()
        if not pid:
            os._exit(1 if stream.writer.waiting_bytes else 0)
        print(os.waitpid(pid, 0)[1], flush=True)
        os._exit(0)
    """
    assert run(code, pipe)[0] == "0\n"


def test_a_fork_while_another_thread_is_in_the_middle_of_a_write_leaves_the_child_able_to_write(
    pipe,
):
    code = """
        stream.writer.buffer().enter()  # as a thread that is not there any more in the child
        stream.writer.buffer().owner = -1
        stream.writer.busy = True
        print("waits for the holder", file=stream)
        pid = os.fork()
        if not pid:
            print("child", file=stream)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        stream.writer.buffer().leave()
        stream.drain(5)
    """
    _, text = run(code, pipe)
    assert sorted(text.splitlines()) == ["child", "waits for the holder"]


def test_a_signal_handler_that_interrupts_a_write_may_write(pipe):
    code = """
        handled = []  # handlers interrupt each other, too: += would lose some
        running = []  # on a busy machine they would do so beyond the limit of recursion
        def handler(*_):
            if len(running) > 50:
                return
            running.append(None)
            handled.append(None)
            # a print would come between the parts of the other's print
            stream.write("handler %d\\n" % len(handled))
            running.pop()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        written = 0
        end = time.monotonic() + 1.0
        while time.monotonic() < end or len(handled) < 20:
            stream.write("main %d\\n" % written)
            written += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        while not stream.drain(1): pass
        print(written + len(handled), stream.dropped.lines)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        stderr=pipe.write_end,
        stdout=subprocess.PIPE,
        text=True,
    )
    got = b""
    while process.poll() is None:
        got += pipe.read()
    got += pipe.read()
    output, _ = process.communicate()
    total, dropped = map(int, output.split())
    lines = [line for line in got.decode().splitlines() if not line.startswith("resilient_wsgi: ")]
    assert [line for line in lines if not re.fullmatch(r"(main|handler) \d+", line)] == []
    assert len(lines) + dropped == total


@pytest.mark.parametrize("seconds", ["0.3"])
def test_the_end_of_a_process_waits_for_a_reader_that_is_not_there_only_so_long(pipe, seconds):
    pipe.fill()
    code = f"""
        from resilient_wsgi.settings.options import Stderr
        from resilient_wsgi.stderr import NonBlockingHandler
        from resilient_wsgi.stderr.standard_streams import streams
        streams.configure(Stderr(flush_timeout={seconds}))
        import logging
        logging.getLogger().addHandler(NonBlockingHandler())
        logging.warning("waits")
        os.write(1, b"%f" % time.monotonic())
    """
    begin = __import__("time").monotonic
    output, text = run(code, pipe, timeout=30)
    assert begin() - float(output) < 15
    assert "waits" not in text


def test_what_waits_at_the_end_of_the_interpreter_is_written_if_there_is_room_by_then(pipe):
    code = """
        from resilient_wsgi.stderr.standard_streams import shared
        fill(2)
        shared(2).write("waits\\n")
        print("begun", end="", file=shared(2))
        os.write(1, b"full")
        sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        stderr=pipe.write_end,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert process.stdout.read(4) == b"full"
    pipe.read()
    process.communicate(timeout=30)
    assert pipe.read() == b"waits\nbegun"


def test_writing_at_the_end_of_the_interpreter_works(pipe):
    code = """
        import atexit
        atexit.register(lambda: print("atexit", file=stream))
        class Late:
            def __del__(self): print("finalizer", file=sys.stderr)
        sys.stderr = stream
        late = Late()
    """
    assert run(code, pipe)[1].split() == ["atexit", "finalizer"]


def test_lines_of_eight_processes_with_eight_threads_are_never_torn(pipe):
    """Each line carries its length and its checksum; a short run of what bench/stderr/torn.py does
    a million times.
    """
    code = """
        import random, zlib
        def work(seed):
            dice = random.Random(seed)
            for _ in range(60):
                body = "%x" % dice.getrandbits(4 * dice.choice((10, 100, 1000, 4000)))
                print("%08x %s" % (zlib.crc32(body.encode()), body), file=stream)
        pids = []
        for process in range(8):
            pid = os.fork()
            if not pid:
                threads = [threading.Thread(target=work, args=(process * 8 + t,)) for t in range(8)]
                for t in threads: t.start()
                for t in threads: t.join()
                while not stream.drain(5): pass
                os.write(1, b"%d\\n" % stream.dropped.lines)
                os._exit(0)
            pids.append(pid)
        for pid in pids: assert os.waitpid(pid, 0)[1] == 0
    """
    process = subprocess.Popen(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        stderr=pipe.write_end,
        stdout=subprocess.PIPE,
    )
    got = b""
    while process.poll() is None:
        got += pipe.read()
    got += pipe.read()
    dropped = sum(map(int, process.communicate()[0].split()))
    import zlib

    lines = [
        line.split(b" ") for line in got.splitlines() if not line.startswith(b"resilient_wsgi: ")
    ]
    assert [
        line for line in lines if len(line) != 2 or int(line[0], 16) != zlib.crc32(line[1])
    ] == []
    assert len(lines) + dropped == 8 * 8 * 60
