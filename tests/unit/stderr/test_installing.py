"""install(), take_over(), and what children get: in real child processes, because it is their
standard error that changes.
"""

import io
import logging
import os
import subprocess
import sys

import pytest

from resilient_wsgi import stderr
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.stderr import NonBlockingHandler, NonBlockingStream, component as installing
from resilient_wsgi.stderr.middleware import ErrorsMiddleware
from resilient_wsgi.stderr.standard_streams import shared


@pytest.fixture
def logger():
    made = logging.Logger("name")  # noqa: LOG001 - one that no other test has
    yield made
    for handler in made.handlers:
        handler.close()


def test_install_replaces_the_streams_and_uninstall_puts_them_back(child, pipe):
    said = child(
        """
        import _posixsubprocess
        patched = lambda: (subprocess.Popen._get_handles, _posixsubprocess.fork_exec, os.system, os.posix_spawn, os.posix_spawnp, os._spawnvef)
        before = sys.stderr, sys.stdout, patched()
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        bound = sys.stdout.write
        means = stderr.install()
        again = stderr.install()
        print("one"); print("two", file=sys.stderr); logging.warning("three"); bound("four\\n"); print("five", file=sys.__stderr__)
        types = type(sys.stderr).__name__, type(sys.stdout).__name__
        stderr.uninstall(); stderr.uninstall()
        print("six", file=sys.stderr); logging.warning("seven"); bound("eight\\n"); sys.stdout.flush()
        say(means=means, again=again, types=types, restored=before == (sys.stderr, sys.stdout, patched()))
        """,
        stdout=pipe.write_end,
        stderr=pipe.write_end,
    )
    assert said["types"] == ["NonBlockingStream"] * 2
    assert said["means"] == said["again"]
    assert [phrase.partition(" ")[0] for phrase in said["means"]] == ["sys.stderr", "sys.stdout"]
    assert said["restored"]
    assert pipe.read().decode().split() == [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
    ]


def test_standard_output_that_goes_elsewhere_is_left_alone(child, pipe, tmp_path):
    with open(tmp_path / "out", "w") as out:
        said = child(
            "say(means=stderr.install(), out=type(sys.stdout))", stdout=out, stderr=pipe.write_end
        )
    assert len(said["means"]) == 1
    assert "TextIOWrapper" in said["out"]


def test_a_stream_that_somebody_has_captured_is_left_alone(monkeypatch):
    monkeypatch.setattr(installing, "server_name", lambda: "gunicorn")
    captured, before = io.StringIO(), sys.stderr
    sys.stderr = captured
    try:
        with pytest.raises(Unavailable, match="captured"):
            stderr.install()
        assert sys.stderr is captured
    finally:
        sys.stderr = before


def test_a_terminal_is_left_alone(child):
    master, slave = os.openpty()
    try:
        said = child(
            """
            try: stderr.install()
            except Unavailable as error: say(why=str(error))
            """,
            stdout=subprocess.DEVNULL,
            stderr=slave,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert said["why"] == "standard error is a terminal"


def test_report_mode_logs_once_what_it_has_left_alone(child, pipe):
    said = child(
        """
        from resilient_wsgi import events
        seen = []
        events.subscribe(seen.append)
        for _ in range(2): stderr.install(Stderr(mode="report"))
        say(seen=[str(event) for event in seen])
        """,
        stdout=pipe.write_end,
        stderr=pipe.write_end,
    )
    (line,) = said["seen"]
    assert line.startswith("descriptor 2 (pipe) can block (dry run, it was left as it is)")


def test_duplicates_are_taken_over_and_the_standard_descriptors_reported(child, pipe):
    said = child(
        """
        from resilient_wsgi import events
        seen = []
        events.subscribe(seen.append)
        before, taken = os.dup(2), take_over()
        after = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
        say(taken=[each.fd for each in taken], again=[each.fd for each in take_over()], before=before,
            seen=[event.fd for event in seen], blocking=[os.get_blocking(before), os.get_blocking(after)])
        """,
        stdout=subprocess.DEVNULL,
        stderr=pipe.write_end,
    )
    assert said["taken"] == said["again"] == [2, said["before"]]
    assert said["seen"] == [2]
    assert said["blocking"] == [False, False]


def test_report_mode_changes_nothing(child, pipe):
    said = child(
        "say(means=stderr.install(Stderr(mode='report')), type=type(sys.stderr))",
        stdout=pipe.write_end,
        stderr=pipe.write_end,
    )
    assert said["means"] == ["report only: descriptor 2 is a pipe"]
    assert "TextIOWrapper" in said["type"]


def test_who_holds_the_old_stream_does_not_block_either(child, pipe):
    said = child(
        """
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        stderr.install()
        for number in range(3000):
            logging.warning("x" * 100)
            print("y" * 100, file=sys.__stderr__)
        say(dropped=sys.stderr.dropped.lines)
        """,
        stdout=pipe.write_end,
        stderr=pipe.write_end,
    )
    assert said["dropped"] > 1000


TAKE_OVER = """
flags = lambda fd: fcntl.fcntl(fd, fcntl.F_GETFL)
other = os.dup(2); os.set_inheritable(other, True)
shared_description = os.open(os.environ["ANSWER"], os.O_WRONLY | os.O_CREAT)
taken = take_over()
again = take_over()
written = 0
try:
    while True: written += os.write(2, b"x" * 4096)
except BlockingIOError: pass
say(taken=[str(t) for t in taken], same=taken == again, written=written, other=flags(other) & os.O_NONBLOCK,
    inheritable=[os.get_inheritable(1), os.get_inheritable(other)])
"""


def test_take_over_makes_every_descriptor_of_the_pipe_non_blocking_and_leaves_the_parents_alone(
    child, pipe
):
    said = child(TAKE_OVER, stdout=pipe.write_end, stderr=pipe.write_end)
    assert len(said["taken"]) == 3
    assert said["taken"][0] == "descriptor 1 (pipe): reopened"
    assert said["same"]
    assert said["written"] == 65536
    assert said["other"]
    assert said["inheritable"] == [True, True]
    assert os.get_blocking(pipe.write_end)


def test_take_over_without_a_reader_gets_no_sigpipe(child, pipe):
    said = child(
        """
        import signal
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        reading, writing = os.pipe()
        os.dup2(writing, 2); os.close(writing)
        held = os.dup(2)
        pid = os.fork()
        if not pid:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            take_over()
            os.write(2, b"x")
            os._exit(0)
        os.close(reading)
        say(status=os.waitpid(pid, 0)[1])
        """,
        stdout=pipe.write_end,
        stderr=pipe.write_end,
    )
    assert said["status"] == 0


REFUSED = """
import errno
class Setuid(System):
    def open(self, *arguments): raise PermissionError(errno.EACCES, "Permission denied")
try: take_over(system=Setuid())
except Unavailable as error: why = str(error)
taken = take_over(share=True, system=Setuid())
say(why=why, taken=[str(t) for t in taken], nonblocking=not os.get_blocking(2))
"""


def test_a_pipe_of_another_user_is_refused_with_the_reason_or_shared_if_asked_for(child, pipe):
    said = child(REFUSED, stdout=pipe.write_end, stderr=pipe.write_end)
    assert "descriptor 2 (pipe) cannot be reopened: Permission denied" in said["why"]
    assert said["taken"] == [
        f"descriptor {fd} (pipe): O_NONBLOCK on the shared description" for fd in (1, 2)
    ]
    assert said["nonblocking"]


def test_what_is_no_pipe_is_not_taken_over(child, tmp_path):
    with open(tmp_path / "log", "w") as log:
        assert child("say(taken=take_over())", stdout=log, stderr=log)["taken"] == []


def test_the_handler_writes_whole_records_and_has_no_lock(pipe, logger):
    handler = NonBlockingHandler(NonBlockingStream(pipe.write_end))
    logger.addHandler(handler)
    logger.warning("hello %s", "world")
    logger.warning("two\nlines")
    assert handler.lock is None
    assert pipe.read() == b"hello world\ntwo\nlines\n"


def test_a_record_that_cannot_be_formatted_is_said_and_raises_nothing(pipe, logger):
    handler = NonBlockingHandler(NonBlockingStream(pipe.write_end))
    logger.addHandler(handler)
    logger.warning("%d", "not a number")
    text = pipe.read().decode()
    assert "TypeError" in text
    assert "could not be formatted: '%d'" in text


def test_filters_of_the_handler_hold(pipe, logger):
    handler = NonBlockingHandler(NonBlockingStream(pipe.write_end), level=logging.ERROR)
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    logger.addHandler(handler)
    logger.warning("too low")
    logger.error("secret")
    logger.error("open")
    assert pipe.read() == b"open\n"


def test_djangos_logging_takes_the_handler_by_name(child, pipe):
    child(
        """
        import logging.config
        logging.config.dictConfig({"version": 1, "root": {"handlers": ["console"]}, "handlers": {
            "console": {"class": "resilient_wsgi.stderr.NonBlockingHandler"}}})
        logging.error("configured")
        say()
        """,
        stdout=subprocess.DEVNULL,
        stderr=pipe.write_end,
    )
    assert pipe.read() == b"configured\n"


def errors_seen(**environ):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return [b""]

    ErrorsMiddleware(app)(environ, lambda *_: None)
    return seen["wsgi.errors"]


def test_the_middleware_replaces_wsgi_errors_where_it_is_standard_error():
    assert errors_seen() is shared(2)
    with open(os.dup(2), "w") as not_two:
        assert errors_seen(**{"wsgi.errors": not_two}) is not_two
    with io.TextIOWrapper(io.FileIO(2, "w", closefd=False)) as two:
        assert errors_seen(**{"wsgi.errors": two}) is shared(2)


def test_the_middleware_leaves_wsgi_errors_that_go_elsewhere():
    elsewhere = io.StringIO()
    assert errors_seen(**{"wsgi.errors": elsewhere}) is elsewhere
