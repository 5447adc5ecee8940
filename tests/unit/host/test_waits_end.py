"""Waits that are ended, and each reason not to."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import http.client
import operator
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from resilient_wsgi.host import waits, waits_chain, waits_refusals, waits_sockets
from resilient_wsgi.host.waits_chain import ENDED, FAILED, OVER, RESET, SHUTDOWN, Still
from resilient_wsgi.host.waits_end import REFUSED, Ends

from .test_waits import READS, WRITES
from .waiting import (
    Waiter,
    closing,
    ends_without_listeners,
    fresh_descriptors,
    full_listener,
    silent,
)

pytestmark = [
    pytest.mark.skipif(bool(waits.why_not()), reason=waits.why_not()),
    pytest.mark.skipif(bool(waits_chain.why_not()), reason=waits_chain.why_not()),
    pytest.mark.skipif("t" in sys.abiflags, reason="a free-threaded build"),
]


@pytest.fixture(autouse=True)
def _fresh_descriptors():
    with fresh_descriptors():
        yield


@pytest.fixture
def ends():
    return Ends(waits_sockets.snapshot())


@pytest.fixture
def server(ends):
    """A server that says nothing, in another process: what we listen on ourselves is refused."""
    code = (
        "import socket, sys, time\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
    )
    yield "127.0.0.1", int(child.stdout.readline())
    child.stdin.close()
    child.wait()
    child.stdout.close()


@pytest.fixture
def connection(server):
    with closing(socket.create_connection(server)) as (sock,):
        yield sock


def refused(ends, waiter, wait=None, **options):
    outcome = waiter.end(ends, wait, **options)
    assert outcome.state == REFUSED, outcome
    assert not outcome.ended
    return outcome.reason


# of classic BPF: accept all
INSTRUCTION = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0xFFFF))

# what is ended


@pytest.mark.parametrize("call", [*READS, *WRITES])
def test_a_connection_is_reset_whatever_waits_for_it(ends, connection, call):
    waiter = Waiter(lambda: {**READS, **WRITES}[call](connection))
    outcome = waiter.end(ends)
    assert (outcome.state, outcome.how, outcome.ends) == (ENDED, RESET, 1)
    waiter.join()
    if call in ("poll", "pselect6", "epoll_wait"):
        assert waiter.error is None  # it learns of it when it reads:
        with pytest.raises(ConnectionError):
            connection.recv(1)
    else:
        assert isinstance(waiter.error, ConnectionError)


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_body_that_ends_with_the_connection_is_not_taken_for_whole(timeout):
    listener = silent()
    connection = http.client.HTTPConnection(*listener.getsockname(), timeout=timeout)
    connection.request("GET", "/")
    accepted, _ = listener.accept()
    listener.close()  # or it would be one of our own clients
    accepted.sendall(b"HTTP/1.0 200 OK\r\n\r\nhalf of it")
    with closing(connection, accepted, connection.getresponse()) as (_, _, response):
        waiter = Waiter(response.read)
        assert waiter.end(ends_without_listeners()).how == RESET
        waiter.join()
    assert isinstance(waiter.error, ConnectionError)


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_connect_is_ended(ends, timeout):
    with full_listener() as listener:
        waiter = Waiter(lambda: socket.create_connection(listener.getsockname(), timeout))
        assert waiter.end(ends).ended
        waiter.join()
    assert isinstance(waiter.error, ConnectionError)


def test_a_unix_socket_with_a_named_peer_is_shut_down(tmp_path):
    path = str(tmp_path / "s")
    with closing(socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)) as (server, client):
        server.bind(path)
        server.listen()
        client.connect(path)
        waiter = Waiter(lambda: client.recv(1))
        outcome = waiter.end(ends_without_listeners())
        assert (outcome.state, outcome.how, outcome.wait.peer) == (ENDED, SHUTDOWN, path)
        waiter.join()
        assert waiter.result == b""


def test_a_socket_looks_as_after_a_reset_by_its_peer(ends, connection):
    waiter = Waiter(lambda: connection.recv(1))
    assert waiter.end(ends).ended
    waiter.join()
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    found = poll.poll(0)[0][1]
    assert found & select.POLLIN
    assert found & select.POLLHUP
    with contextlib.suppress(ConnectionError):
        connection.recv(1)
    assert connection.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        connection.send(b"x")


def test_a_thread_keeps_its_scheduling_policy(ends, connection):
    waiter = Waiter(lambda: (READS["poll"](connection), time.sleep(0.5)))
    assert waiter.end(ends).ended
    assert os.sched_getscheduler(waiter.native) == os.SCHED_OTHER
    waiter.join()


def test_a_look_that_finds_the_wait_over_lets_the_answer_in(server, ends):
    listener = silent()
    with closing(listener, socket.create_connection(listener.getsockname())) as (_, sock):
        accepted, _ = listener.accept()
        listener.close()
        waiter = Waiter(lambda: (READS["pselect6"](sock), sock.recv(9)))
        wait = waiter.blocks()
        chain, line = waits_chain.Chain(), wait.call.line
        # the first look succeeds, the one after the filter was attached does not
        looks = iter([line, b"something else"])
        step = partial(operator.eq, line)
        chain._line = lambda *_: iter([lambda: step(next(looks))])
        assert chain.end(wait, waiter.still) == (OVER, "")
        assert next(looks, None) is None
        with closing(accepted):
            accepted.sendall(b"answer")
            waiter.join()
    assert waiter.result[1] == b"answer"


def test_a_wait_whose_answer_is_there_to_be_read_is_over(ends):
    """As between the arrival of an answer and the moment in which a processor wakes its reader."""
    code = (
        "import socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "sock = listener.accept()[0]\n"
        "sock.sendall(b'half')\n"
        "sys.stdin.readline()\n"
        "sock.sendall(b' and half')\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        address = "127.0.0.1", int(child.stdout.readline())
        with closing(socket.create_connection(address)) as (sock,):
            assert select.select([sock], [], [], 10)[0]
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 13)
            poller = select.poll()
            poller.register(sock, select.POLLIN)
            waiter = Waiter(lambda: poller.poll() and sock.recv(13))
            assert waiter.end(ends, waiter.wait("poll")).state == OVER
            child.stdin.write(b"\n")
            child.stdin.flush()
            waiter.join()
            assert (waiter.result, waiter.error) == (b"half and half", None)
        child.stdin.close()


def test_a_filter_of_the_app_stays(ends, connection):
    program = struct.pack("HL", 1, ctypes.addressof(INSTRUCTION))
    connection.setsockopt(socket.SOL_SOCKET, 26, program)
    waiter = Waiter(lambda: connection.recv(1))
    assert waits_chain.Chain()._holding(connection.fileno()) == ([], [])
    assert waiter.end(ends).ended
    waiter.join()


def test_no_descriptor_is_left(ends, server):
    def once():
        with closing(socket.create_connection(server)) as (sock,):
            waiter = Waiter(lambda: READS["epoll_wait"](sock))
            wait = waiter.blocks()
            assert waiter.end(ends, wait).ended
            assert waiter.end(ends_without_listeners(), wait).state == OVER
            waiter.join()

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        once()
    assert len(os.listdir("/proc/self/fd")) == before


# what is not


def test_a_lock_and_a_sleep_are_not_ended(ends):
    lock = threading.Lock()
    lock.acquire()
    waiter = Waiter(lambda: lock.acquire(timeout=5))
    reason = refused(ends, waiter, waiter.blocks(waits.LOCK))
    assert reason == "it is no wait for a single socket, but for a lock"
    lock.release()
    waiter.join()


def test_a_pipe_and_a_socketpair_are_not_ended(ends):
    read_end, write_end = os.pipe()
    left, right = socket.socketpair()
    with closing(left, right):
        pipe, pair = Waiter(lambda: os.read(read_end, 1)), Waiter(lambda: left.recv(1))
        assert "a pipe" in refused(ends, pipe, pipe.blocks(waits.PIPE))
        assert "unnamed" in refused(ends, pair)
        os.write(write_end, b"x")
        right.send(b"x")
        pipe.join()
        pair.join()
    os.close(read_end)
    os.close(write_end)


def test_several_sockets_are_not_ended(ends, server, connection):
    with closing(socket.create_connection(server)) as (other,):
        waiter = Waiter(lambda: select.select([connection, other], [], [], 1))
        assert "several" in refused(ends, waiter, waiter.blocks(waits.SEVERAL))
        waiter.join()


def test_an_epoll_of_two_connections_is_not_ended(ends, server, connection):
    with closing(socket.create_connection(server), select.epoll()) as (other, epoll):
        epoll.register(connection, select.EPOLLIN)
        epoll.register(other, select.EPOLLIN)
        waiter = Waiter(lambda: epoll.poll(1))
        assert "several" in refused(ends, waiter, waiter.blocks(waits.SEVERAL))
        waiter.join()


def test_what_was_open_before_is_not_ended(connection):
    waiter = Waiter(lambda: connection.recv(1))
    assert "before this worker began" in refused(Ends(waits_sockets.snapshot()), waiter)
    connection.shutdown(socket.SHUT_RDWR)
    waiter.join()


def test_the_connection_of_a_client_is_not_ended(ends):
    with closing(silent()) as (listener,):
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with closing(client, accepted):
            waiter = Waiter(lambda: accepted.recv(1))
            assert "connection of a client" in refused(ends, waiter)
            client.close()
            waiter.join()


@pytest.mark.parametrize("address", ["0.0.0.0:80", "10.0.0.1:80"])
def test_a_client_is_known_by_the_address_that_we_listen_on(address):
    assert waits_sockets.is_accepted("10.0.0.1:80", frozenset([address]))
    assert not waits_sockets.is_accepted("10.0.0.1:8080", frozenset([address]))
    assert not waits_sockets.is_accepted("10.0.0.2:80", frozenset(["10.0.0.1:80"]))


def test_a_connect_to_a_unix_socket_with_a_full_backlog_is_only_named(ends, tmp_path):
    path = str(tmp_path / "s")
    clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    with closing(socket.socket(socket.AF_UNIX), *clients) as (listener, filler, client):
        listener.bind(path)
        listener.listen(0)
        filler.connect(path)
        waiter = Waiter(lambda: client.connect(path))
        wait = waiter.wait("connect")
        assert str(wait) == f"connection to {path}"
        assert "full backlog" in refused(ends, waiter, wait)
        listener.accept()[0].close()
        waiter.join()


def test_a_listening_socket_is_not_ended(ends):
    with closing(silent()) as (listener,):
        waiter = Waiter(listener.accept)
        assert "listens" in refused(ends, waiter, waiter.wait("accept4", "accept"))
        socket.create_connection(listener.getsockname()).close()
        waiter.join()
        waiter.result[0].close()


def test_datagrams_are_not_ended(ends):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as (sock,):
        sock.bind(("127.0.0.1", 0))
        waiter = Waiter(lambda: sock.recv(1))
        assert "AF_INET SOCK_DGRAM" in refused(ends, waiter)
        sock.sendto(b"x", sock.getsockname())
        waiter.join()


@pytest.mark.parametrize(
    "path", ["/run/systemd/journal/stdout", "/dev/log", "/var/run/rsyslog.sock"]
)
def test_a_log_is_not_ended(path):
    assert waits_sockets.is_log(path)
    endpoint = waits_sockets.Endpoint(
        socket.AF_UNIX, socket.SOCK_STREAM, 0, "", path, listens=False
    )
    call = waits.Call(1, b"", "sendto", (9,))
    wait = waits.Wait(waits.SOCKET, call, path, fd=9, inode=1, endpoint=endpoint)
    assert "it is a log" in waits_refusals.of_wait(
        wait, waits_sockets.Inherited(), waits_refusals.Survey()
    )


def test_a_standard_stream_is_not_ended():
    code = (
        "import socket, sys, threading\n"
        "from tests.unit.host.waiting import Waiter, ends_without_listeners\n"
        "waiter = Waiter(lambda: socket.socket(fileno=0).recv(1))\n"
        "print(waiter.end(ends_without_listeners()).reason, flush=True)\n"
        "import os; os._exit(0)"
    )
    with closing(silent()) as (listener,):
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with closing(client, accepted):
            done = subprocess.run(
                [sys.executable, "-c", code],
                stdin=client,
                stdout=subprocess.PIPE,
                text=True,
                timeout=30,
                check=True,
            )
    assert "standard streams" in done.stdout


def test_a_connection_that_two_threads_wait_for_is_not_ended(ends, connection):
    first, second = (Waiter(lambda: connection.recv(1)) for _ in range(2))
    second.blocks()
    assert "another thread" in refused(ends, first)
    connection.shutdown(socket.SHUT_RDWR)
    first.join()
    second.join()


def test_a_connection_that_another_epoll_watches_is_not_ended(ends, connection):
    with closing(select.epoll()) as (epoll,):
        epoll.register(connection, select.EPOLLIN)
        waiter = Waiter(lambda: connection.recv(1))
        assert "another epoll" in refused(ends, waiter)
        connection.shutdown(socket.SHUT_RDWR)
        waiter.join()


def test_a_connection_that_a_child_shares_is_not_ended(ends, connection):
    child = subprocess.Popen(["sleep", "30"], pass_fds=[connection.fileno()])
    waiter = Waiter(lambda: connection.recv(1))
    assert f"a child process ({child.pid})" in refused(ends, waiter)
    child.kill()
    child.wait()
    assert waiter.end_soon(ends).ended
    waiter.join()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (("httpcore._sync.http2", "_receive_events"), "shares one connection"),
        (("grpc._channel", "_blocking"), "shares one connection"),
        (("asyncio.base_events", "run_forever"), "event loop"),
        (("gevent.hub", "run"), "event loop"),
        (("django.db.backends.base.base", "_commit"), "answer to a commit"),
    ],
)
def test_frames_tell_what_is_shared_and_what_must_not_be_cut(ends, connection, frame, reason):
    waiter = Waiter(lambda: connection.recv(1))
    assert reason in refused(ends, waiter, frames=lambda: [("app", "view"), frame])
    connection.shutdown(socket.SHUT_RDWR)
    waiter.join()


def test_a_late_commit_is_ended(ends, connection):
    waiter = Waiter(lambda: connection.recv(1))
    assert waiter.end(ends, frames=lambda: [("sqlalchemy", "do_commit")], late=True).ended
    waiter.join()


def test_names_that_only_begin_alike_are_no_multiplexer():
    assert not waits_refusals.of_frames([("h2o_client.http", "get")], late=False)


def test_a_patched_process_and_a_free_threaded_build_end_nothing(ends, monkeypatch):
    class Monkey:
        @staticmethod
        def is_module_patched(name):
            return name == "socket"

    monkeypatch.setitem(sys.modules, "gevent.monkey", Monkey)
    assert "gevent" in ends.why_not()
    monkeypatch.delitem(sys.modules, "gevent.monkey")
    monkeypatch.setattr(sys, "abiflags", "t")
    assert "free-threaded" in ends.why_not()


# the second look


def test_a_request_that_is_over_keeps_its_connection(ends, connection):
    waiter = Waiter(lambda: connection.recv(1))
    wait, still = waiter.blocks(), waiter.still
    waiter.slot.request = object()  # the thread serves the next one
    assert ends.end(wait, 1, still, list).state == OVER
    connection.settimeout(0.1)
    connection.send(b"x")  # not broken
    connection.shutdown(socket.SHUT_RDWR)
    waiter.join()


def test_a_wait_that_has_changed_is_over(ends, connection):
    waiter = Waiter(lambda: (select.select([connection], [], [], 0.3), connection.recv(1)))
    wait = waiter.wait("pselect6", "select")
    waiter.wait("recvfrom")
    assert waiter.end(ends, wait).state == OVER
    connection.send(b"x")
    connection.shutdown(socket.SHUT_RDWR)
    waiter.join()


def test_a_thread_that_does_not_wake_is_not_ended_again(ends, server, connection):
    """Its descriptor was closed under it: by now the number is another socket's."""
    waiter = Waiter(lambda: connection.recv(1))
    waiter.blocks()
    kept = os.dup(connection.fileno())
    with closing(socket.create_connection(server), socket.create_connection(server)) as others:
        os.dup2(others[0].fileno(), connection.fileno())
        assert waiter.end(ends).ended
        time.sleep(0.05)
        assert "did not wake" in refused(ends, waiter)
    os.dup2(kept, connection.fileno())
    os.close(kept)
    assert waiter.end(ends).ended  # it is what it waits for again
    waiter.join()


def test_another_socket_of_the_same_number_is_not_ended(ends, server, connection):
    waiter = Waiter(lambda: connection.recv(1))
    wait = waiter.blocks()
    with closing(socket.create_connection(server)) as (other,):
        kept = os.dup(connection.fileno())
        os.dup2(other.fileno(), connection.fileno())
        assert waiter.end(ends, wait).state == OVER
        other.send(b"x")
        os.dup2(kept, connection.fileno())
        os.close(kept)
    connection.shutdown(socket.SHUT_RDWR)
    waiter.join()


@pytest.mark.parametrize("value", [7, "seven"])
def test_still_is_by_value_for_numbers_and_by_identity_for_objects(value):
    cell = [value, None]
    still = Still.item(cell, 0, value)
    assert still.step()()
    cell[0] = 8
    assert not still.step()()


def test_nothing_of_python_runs_between_the_look_and_the_end():
    class Cell:
        __slots__ = ("n",)

    cell, seen, stop = Cell(), [], threading.Event()
    cell.n = 0

    def count():
        while not stop.is_set():
            cell.n += 1

    note = operator.attrgetter("n")

    def noting():
        added = map(note, (cell,))
        return partial(
            all, map(operator.not_, map(waits_chain._call, (partial(seen.extend, added),)))
        )

    pause = ctypes.PyDLL(None)["usleep"]
    pause.restype = operator.not_
    thread = threading.Thread(target=count)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(5):
            del seen[:]
            steps = [noting(), partial(pause, 20_000), noting()]
            assert waits_chain._run(iter(steps), iter([partial(pause, 20_000), noting()]))
            assert len(set(seen)) == 1, "the other thread has run"
            time.sleep(0.01)
            assert cell.n > seen[0]  # it does when it may
    finally:
        stop.set()
        sys.setswitchinterval(before)
        thread.join()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="collections begin between bytecodes")
def test_no_collection_begins_between_the_look_and_the_end(ends, connection):
    before = gc.get_threshold()
    waiter = Waiter(lambda: connection.recv(1))
    wait = waiter.blocks()
    try:
        gc.set_threshold(50)  # always about to begin
        assert waiter.end(ends, wait).state == OVER
    finally:
        gc.set_threshold(*before)
    assert waiter.end(ends, wait).ended
    waiter.join()


# again and again


def test_a_client_that_reconnects_is_ended_again_and_known(server):
    ends = Ends(waits_sockets.snapshot(), most=4)
    stop = threading.Event()

    def stubborn():
        while not stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection(server) as sock:
                sock.recv(1)

    waiter = Waiter(stubborn)
    outcomes = []
    until = time.monotonic() + 10
    while not (outcomes and outcomes[-1].state == REFUSED) and time.monotonic() < until:
        wait = waits.wait_of(waiter.native)
        if wait is not None and wait.kind == waits.SOCKET:
            outcomes.append(waiter.end(ends, wait))
    ended = [each for each in outcomes if each.ended]
    assert [each.ends for each in ended] == [1, 2, 3, 4]
    assert [each.reconnects for each in ended] == [False, False, True, True]
    assert "its client reconnects" in outcomes[-1].reason
    assert ends.count(waiter.native, 1) == 4
    assert ends.count(waiter.native, 2) == 0  # the next request starts at 0
    stop.set()
    assert waiter.end(Ends(waits_sockets.Inherited())).ended
    waiter.join()
    ends.forget([])
    assert ends.count(waiter.native, 1) == 0


def test_where_the_kernel_refuses_a_reset_the_connection_is_shut_down(
    ends, connection, monkeypatch
):
    monkeypatch.setattr(waits_chain, "_NO_ADDRESS", struct.pack("=H14x", 99))  # no such family
    waiter = Waiter(lambda: connection.recv(1))
    outcome = waiter.end(ends)
    assert (outcome.state, outcome.how, outcome.reason) == (ENDED, SHUTDOWN, "")
    waiter.join()
    assert waiter.result == b""


def test_what_the_kernel_refuses_is_said(ends, connection, monkeypatch):
    library = ctypes.PyDLL(None, use_errno=True)
    library.shutdown.restype = operator.not_
    refusing = partial(library.shutdown, connection.fileno(), 99)
    monkeypatch.setattr(waits_chain.Chain, "_ways", lambda *_, **__: [refusing])
    waiter = Waiter(lambda: connection.recv(1))
    outcome = waiter.end(ends)
    assert (outcome.state, outcome.reason, outcome.ends) == (FAILED, "Invalid argument", 0)
    connection.shutdown(socket.SHUT_RDWR)
    waiter.join()
