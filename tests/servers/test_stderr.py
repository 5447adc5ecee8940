"""uWSGI whose standard error is not read: without the library it is stuck for good,
with one line in uwsgi.ini clients notice nothing.

A short cut of bench/stderr/matrix.py, which runs every configuration with every kind of reader.
"""

import signal
import socket

import pytest

from lab.measuring import load, procfs
from lab.measuring.sampler import blocked_threads
from lab.processes import wait_until
from lab.stderr.log_reader import CLOSED, LINE, NOTICE, SLOW, STALLED
from lab.stderr.log_servers import CONFIGURATIONS, Configuration, serving, why_not_as_nobody

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

REQUESTS = 3000
PREFORK, LOG_MASTER, SHIM = (
    CONFIGURATIONS[name] for name in ("prefork", "log-master", "exec shim")
)
as_nobody = pytest.mark.skipif(
    bool(why_not_as_nobody()), reason=why_not_as_nobody() or "can be run"
)


def ask(server, count=REQUESTS, patience=5.0):
    """Send requests one after the other from 8 clients, and give up when nobody answers any more."""
    answers = load.closed_loop(
        server.port,
        "/",
        count=count,
        clients=8,
        patience=patience,
        give_up=lambda answers: (
            len(answers) >= 8 and not any(answer.good for answer in answers[-8:])
        ),
    )
    return sum(answer.good for answer in answers)


def cpu_seconds(server):
    return sum(map(procfs.cpu_seconds, [server.pid, *server.workers()]))


def fresh_workers(server, old):
    now = server.workers()
    return len(now) >= len(old) and not set(old) & set(now)


def check(server, count):
    """All that must hold whatever becomes of the log."""
    assert ask(server, count) == count
    old = server.workers()
    before = cpu_seconds(server)
    assert not wait_until(lambda: cpu_seconds(server) > before + 0.5, 1.0), (
        "busy although nobody asks"
    )
    server.directory.chmod(0o755)  # who has changed the user reads uwsgi.ini again
    server.signal(signal.SIGHUP, when_heeded=True)
    assert wait_until(lambda: fresh_workers(server, old), 30.0)
    assert load.get(server.port, "/").good
    server.stop(signal.SIGTERM, when_heeded=True)


def test_without_the_library_it_is_stuck_for_good_after_some_hundred_lines():
    with serving(PREFORK, STALLED, protected=False) as (server, _):
        assert 20 < ask(server, patience=2.0) < 600
        assert not any(load.get(server.port, "/", patience=2.0).good for _ in range(2))
        assert blocked_threads(server.workers()) == 2


def test_without_the_library_and_without_a_reader_it_burns_a_processor():
    with serving(PREFORK, CLOSED, protected=False) as (server, _):
        assert ask(server, patience=2.0) < 100
        before = cpu_seconds(server)
        assert wait_until(lambda: cpu_seconds(server) > before + 1.0, 20.0)


@pytest.mark.parametrize("manner", [STALLED, CLOSED, SLOW])
@pytest.mark.parametrize(
    "name", ["prefork", "lazy-apps", "prefork, 8 threads", "log-master", "threaded-logger"]
)
def test_every_request_is_answered_and_the_master_obeys(name, manner):
    with serving(CONFIGURATIONS[name], manner) as (server, _):
        check(server, 1000)


@pytest.mark.parametrize("manner", [STALLED, CLOSED])
@pytest.mark.parametrize("name", ["exec shim", "exec shim, log-master", "gunicorn, exec shim"])
def test_the_exec_shim_changes_nothing_of_that(name, manner):
    with serving(CONFIGURATIONS[name], manner) as (server, _):
        check(server, 1000)


def test_the_exec_shim_has_uwsgi_import_what_the_app_does_not():
    """Else Python's own `sys.stderr` raises into the view: 577 of 3000 were answered."""
    with serving(Configuration(without=SHIM.kind), STALLED, protected=False) as (server, _):
        check(server, 1000)


@as_nobody
@pytest.mark.parametrize("manner", [STALLED, CLOSED])
@pytest.mark.parametrize("name", ["uid=", "uid=, exec shim"])
def test_workers_that_have_changed_their_user_answer(name, manner):
    with serving(CONFIGURATIONS[name], manner) as (server, _):
        check(server, 1000)


@pytest.mark.parametrize("name", ["daemonize to a FIFO", "logto a FIFO"])
def test_a_log_file_that_is_a_fifo_which_nobody_reads_is_taken_over_as_well(name):
    with serving(CONFIGURATIONS[name], STALLED) as (server, _):
        check(server, 1000)


@pytest.mark.parametrize("configuration", [PREFORK, LOG_MASTER])
def test_harakiri_replaces_a_worker_while_nobody_reads(configuration):
    with serving(configuration, STALLED, harakiri=2) as (server, _):
        assert ask(server) == REQUESTS
        old = server.workers()
        assert not load.get(server.port, "/hang", patience=15.0).good
        assert wait_until(
            lambda: (
                len(set(server.workers()) - set(old)) == 1 and len(server.workers()) == len(old)
            ),
            15.0,
        )
        assert load.get(server.port, "/").good


@pytest.mark.parametrize("manner", [STALLED, SLOW])
@pytest.mark.parametrize("name", ["prefork", "lazy-apps", "prefork, 8 threads"])
def test_when_the_reader_comes_back_each_line_has_been_read_or_is_said_to_be_dropped(name, manner):
    with serving(CONFIGURATIONS[name], manner) as (server, reader):
        asked = REQUESTS
        assert ask(server) == REQUESTS
        reader.come_back()

        def accounted():
            nonlocal asked
            asked += sum(answer.good for answer in load.burst(server.port, "/", 4, 5.0))
            reader.read()
            # the two lines that the library writes at a start may be among those that were dropped
            return asked <= reader.accounted() <= asked + 2

        assert wait_until(accounted, 30.0), (reader.accounted(), asked)
        assert NOTICE.findall(reader.text)


@pytest.mark.parametrize("name", ["prefork", "lazy-apps"])
def test_what_a_worker_could_not_say_before_its_end_is_said_by_the_next(name):
    with serving(CONFIGURATIONS[name], STALLED) as (server, reader):
        asked = ask(server, 2000)
        for _ in range(2):
            old = server.workers()
            server.signal(signal.SIGHUP, when_heeded=True)
            assert wait_until(lambda old=old: fresh_workers(server, old), 30.0)
            asked += ask(server, 100)
        reader.come_back()

        def accounted():
            nonlocal asked
            asked += ask(server, 4)
            reader.read()
            # each of the three starts writes two lines of the library's own (RW001, RW007), which
            # may be among those that were dropped
            return asked <= reader.accounted() <= asked + 6

        assert wait_until(accounted, 30.0), (reader.accounted(), asked)


@pytest.mark.parametrize(
    ("take_over", "options"), [("auto", {"disable_logging": True}), ("on", {})]
)
def test_a_socket_blocks_at_most_what_c_code_writes_and_not_even_that_when_it_is_taken_over(
    take_over, options
):
    """One that may be shared with others, so `auto` leaves it as it is; tests/harm has the
    journal's.
    """
    nobody_reads, log = socket.socketpair()
    configuration = Configuration(env={"RESILIENT_WSGI_STDERR_TAKE_OVER": take_over})
    with (
        nobody_reads,
        log,
        serving(configuration, STALLED, log_to=log.fileno(), **options) as (server, _),
    ):
        assert ask(server, 1000) == 1000


def test_a_log_file_is_written_as_ever(tmp_path):
    path = tmp_path / "log"
    with serving(PREFORK, STALLED, logto=str(path)) as (server, _):
        check(server, REQUESTS)
    assert len(LINE.findall(path.read_bytes())) == REQUESTS + 1


def test_gunicorn_answers_with_the_library_installed_by_the_app():
    with serving(CONFIGURATIONS["gunicorn"], STALLED) as (server, _):
        assert ask(server) == REQUESTS


def test_gunicorn_without_the_library_is_stuck():
    with serving(CONFIGURATIONS["gunicorn"], STALLED, protected=False) as (server, _):
        assert ask(server, patience=2.0) < 1000
