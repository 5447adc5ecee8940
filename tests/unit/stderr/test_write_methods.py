"""Each way to write without waiting, forced by a system on which the better ones are not there."""

import errno
import fcntl
import os
import socket
import sys

import pytest

from resilient_wsgi.core.system import SYSTEM, System
from resilient_wsgi.host.descriptors import kind_of
from resilient_wsgi.host.linux import RWF_NOSIGNAL
from resilient_wsgi.stderr import NonBlockingStream

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
pytestmark = ON_LINUX


def refusing(*calls, code=errno.EOPNOTSUPP, flags_only=0):
    """Return a system on which these calls are refused; `flags_only`: pwritev only with these
    flags.
    """

    class Refusing(System):
        refused = 0

    def refuse(name):
        original = getattr(SYSTEM, name)

        def call(*arguments, **options):
            if name == "pwritev" and flags_only and not arguments[3] & flags_only:
                return original(*arguments)
            if name == "open" and not str(arguments[0]).startswith("/proc/self/fd"):
                return original(*arguments, **options)
            Refusing.refused += 1
            raise OSError(code, os.strerror(code))

        return call

    for name in calls:
        setattr(Refusing, name, staticmethod(refuse(name)))
    return Refusing()


NO_NOSIGNAL = {"calls": ("pwritev",), "flags_only": RWF_NOSIGNAL}
CASES = [
    pytest.param("pipe", (), {}, "pwritev2-nosignal", id="pipe"),
    pytest.param(
        "pipe", ("pwritev",), {"flags_only": RWF_NOSIGNAL}, "pwritev2", id="pipe, before Linux 6.18"
    ),
    pytest.param("pipe", ("pwritev",), {}, "reopened", id="pipe, before Linux 6.4"),
    pytest.param("pipe", ("pwritev",), {"code": errno.ENOSYS}, "reopened", id="pipe, no pwritev2"),
    pytest.param("pipe", ("pwritev",), {"code": errno.EPERM}, "reopened", id="pipe, seccomp"),
    pytest.param("pipe", ("pwritev", "open"), {}, "splice", id="pipe, also after setuid"),
    pytest.param("pipe", ("pwritev", "open", "splice"), {}, "poll", id="pipe, nothing works"),
    pytest.param(
        "nonblocking pipe", ("pwritev",), {}, "nonblocking", id="pipe that was taken over"
    ),
    pytest.param("fifo", (), {}, "reopened", id="named FIFO"),
    pytest.param("stream", (), {}, "pwritev2-nosignal", id="stream socket"),
    pytest.param("stream", ("pwritev",), {}, "send", id="stream socket, before Linux 6.5"),
    pytest.param("seqpacket", ("pwritev",), {}, "send", id="seqpacket socket, before Linux 6.5"),
    pytest.param("dgram", (), {}, "pwritev2-nosignal", id="datagram socket"),
    pytest.param("stream", ("pwritev", "dup"), {}, "poll", id="stream socket, nothing works"),
    pytest.param("terminal", (), {}, "reopened", id="terminal"),
    pytest.param("terminal", ("open",), {}, "poll", id="terminal of another user"),
]


class Ends:
    """A reading and a writing end of some kind."""

    def __init__(self, kind, folder):
        if kind.endswith("pipe"):
            self.reading, self.writing = os.pipe()
            os.set_blocking(self.writing, not kind.startswith("nonblocking"))
        elif kind == "fifo":
            path = str(folder / "fifo")
            os.mkfifo(path)
            self.reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            self.writing = os.open(path, os.O_WRONLY)
        elif kind == "terminal":
            self.reading, self.writing = os.openpty()
        else:
            pair = socket.socketpair(socket.AF_UNIX, getattr(socket, f"SOCK_{kind.upper()}"))
            self.reading, self.writing = (end.detach() for end in pair)
        os.set_blocking(self.reading, False)

    def read(self):
        got = b""
        while True:
            try:
                got += os.read(self.reading, 1 << 16)
            except BlockingIOError:
                return got.replace(b"\r\n", b"\n")


@pytest.fixture
def ends(request, tmp_path):
    made = Ends(request.param, tmp_path)
    yield made
    os.close(made.reading)
    os.close(made.writing)


@pytest.mark.parametrize(("ends", "calls", "how", "via"), CASES, indirect=["ends"])
def test_a_descriptor_that_nobody_reads_never_blocks_whatever_the_kernel_refuses(
    ends, calls, how, via
):
    if via == "splice" and not hasattr(os, "splice"):
        via = "poll"
    stream = NonBlockingStream(ends.writing, buffer_bytes=50_000, system=refusing(*calls, **how))
    flags = fcntl.fcntl(ends.writing, fcntl.F_GETFL)
    lines = [f"{number:09}".ljust(99, ".") + "\n" for number in range(5000)]
    stream.write(lines[0])
    assert stream.writer.via == via
    assert ends.read().decode() == lines[0]

    for line in lines[1:]:
        stream.write(line)
    assert fcntl.fcntl(ends.writing, fcntl.F_GETFL) == flags

    got = ends.read()
    while not stream.drain(0.05):
        got += ends.read()
    got += ends.read()
    whole = [
        line
        for line in got.decode().splitlines(keepends=True)
        if not line.startswith("resilient_wsgi: ")
    ]
    assert [line for line in whole if line not in lines] == []
    assert len(whole) + stream.dropped.lines == len(lines) - 1
    assert stream.dropped.size_bytes == stream.dropped.lines * 100


@pytest.mark.parametrize(
    ("ends", "calls", "how", "via"),
    [case for case in CASES if case.values[0] != "terminal"],
    indirect=["ends"],
)
def test_a_reader_that_is_gone_raises_nothing(ends, calls, how, via):
    stream = NonBlockingStream(ends.writing, buffer_bytes=0, system=refusing(*calls, **how))
    stream.write("x\n")
    os.dup2(os.open(os.devnull, os.O_RDONLY), ends.reading)
    for _ in range(300):
        stream.write("y" * 50 + "\n")
    stream.drain(0)
    assert stream.dropped.lines + stream.writer.waiting_bytes // 51 >= 300


@pytest.mark.parametrize("ends", ["stream", "terminal"], indirect=True)
def test_without_a_buffer_what_there_is_room_for_is_written(ends):
    stream = NonBlockingStream(ends.writing, buffer_bytes=0)
    stream.write("one\n")
    stream.write("two\n" * 1500)
    assert ends.read() == b"one\n" + b"two\n" * 1500


@pytest.mark.parametrize("ends", ["pipe"], indirect=True)
def test_a_write_method_that_is_rejected_later_is_given_up_then(ends):
    system = refusing()
    calls = []

    def pwritev(*arguments):
        calls.append(arguments)
        if len(calls) > 3:
            raise OSError(errno.EOPNOTSUPP, "not any more")
        return os.pwritev(*arguments)

    system.pwritev = pwritev
    stream = NonBlockingStream(ends.writing, system=system)
    for number in range(6):
        stream.write(f"{number}\n")
    assert ends.read() == b"0\n1\n2\n3\n4\n5\n"
    assert stream.writer.via == "reopened"


def test_a_regular_file_is_written_plainly_and_from_its_end(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        stream = NonBlockingStream(fd)
        stream.write("after\n")
        assert stream.writer.via == "plain"
    finally:
        os.close(fd)
    assert path.read_text() == "before\nafter\n"


def test_a_pipe_that_is_replaced_by_a_file_is_not_opened_anew_which_would_overwrite_its_beginning(
    pipe, tmp_path
):
    path = tmp_path / "log"
    stream = NonBlockingStream(pipe.write_end)
    stream.write("into the pipe\n")
    path.write_text("before\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(fd, pipe.write_end)
    os.close(fd)
    stream.write("after\n")
    assert path.read_text() == "before\nafter\n"
    assert stream.writer.via == "plain"


def test_a_full_disk_raises_nothing_and_the_next_line_is_whole():
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        stream = NonBlockingStream(fd, buffer_bytes=0)
        for _ in range(100):
            stream.write("x\n")
        stream.drain(0)
        assert stream.dropped.lines + stream.writer.waiting_bytes // 2 == 100
    finally:
        os.close(fd)


@pytest.mark.parametrize("ends", ["stream"], indirect=True)
def test_a_default_timeout_of_sockets_leaves_the_shared_description_alone(ends):
    socket.setdefaulttimeout(3)
    try:
        NonBlockingStream(ends.writing, system=refusing("pwritev")).write("x\n")
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(ends.writing)


@pytest.mark.parametrize("ends", ["fifo"], indirect=True)
def test_a_private_descriptor_that_a_daemon_has_closed_is_not_taken_for_what_has_its_number_now(
    ends, tmp_path
):
    pid = [os.getpid()]
    system = refusing()
    system.getpid = lambda: pid[0]
    system.wipes_on_fork = False
    stream = NonBlockingStream(ends.writing, system=system)
    stream.write("one\n")
    private = stream.writer._method._private
    somebody_elses = tmp_path / "database"
    fd = os.open(somebody_elses, os.O_WRONLY | os.O_CREAT)
    os.dup2(fd, private)
    os.close(fd)
    pid[0] += 1
    stream.write("two\n")
    assert ends.read() == b"one\ntwo\n"
    assert somebody_elses.read_text() == ""
    os.close(private)


def test_what_a_descriptor_is_is_said_in_a_word(pipe, tmp_path):
    with open(tmp_path / "file", "w") as file, open(os.devnull, "w") as null:
        assert [kind_of(fd, SYSTEM) for fd in (pipe.write_end, file.fileno(), null.fileno())] == [
            "pipe",
            "file",
            "device",
        ]
