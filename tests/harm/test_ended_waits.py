"""Ended waits harm nobody else: what others use stays whole, what was cut does not pass so."""

from __future__ import annotations

import ftplib
import io
import os
import random
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from bench.waits.upstream import serving
from resilient_wsgi.host import waits, waits_chain, waits_sockets
from resilient_wsgi.host.waits_chain import RESET, Still
from resilient_wsgi.host.waits_end import Ends
from tests.unit.host.waiting import Slot, Waiter, closing, fresh_descriptors

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


@pytest.mark.parametrize("timeout", [None, 30])
def test_a_cut_ftp_transfer_does_not_pass_as_success(ends, timeout):
    target = io.BytesIO()

    def fetch():
        client = ftplib.FTP(timeout=timeout)
        client.connect(*address)
        with closing(client):
            client.login()
            return client.retrbinary("RETR a", target.write)

    with serving("ftp") as address:
        waiter = Waiter(fetch)
        until = time.monotonic() + 10
        while target.getvalue() != b"half of the file":
            assert time.monotonic() < until
            time.sleep(0.01)
        assert waiter.end(ends, waiter.wait("recvfrom", "poll")).ended
        waiter.join()
    assert isinstance(waiter.error, ConnectionError)


def test_a_connection_shared_by_requests_of_http_2_is_left_alone(ends):
    """The frames tell: whichever thread happens to read, reads for all."""
    with serving("echo") as address, closing(socket.create_connection(address)) as (sock,):
        waiter = Waiter(lambda: sock.recv(9))
        outcome = waiter.end(ends, frames=lambda: [("httpcore._sync.http2", "_read_incoming_data")])
        assert not outcome.ended
        sock.sendall(b"0 whole\n")
        waiter.join()
        assert waiter.result == b"whole\n"


def frames_of(waiter):
    frame, found = sys._current_frames()[waiter.thread.ident], []
    while frame is not None:
        found.append((frame.f_globals["__name__"], frame.f_code.co_name))
        frame = frame.f_back
    return found


def test_a_request_of_http_2_is_known_by_its_frames(ends):
    httpcore = pytest.importorskip("httpcore")
    pytest.importorskip("h2")
    with (
        serving("silent") as (host, port),
        httpcore.ConnectionPool(http1=False, http2=True) as pool,
    ):
        waiter = Waiter(lambda: pool.request("GET", f"http://{host}:{port}/"))
        wait = waiter.wait("recvfrom", "poll")
        outcome = waiter.end(ends, wait, frames=lambda: frames_of(waiter))
        assert "httpcore._sync.http2 shares one connection" in outcome.reason
        assert waiter.end(ends, wait).ended  # or the test would not end
        waiter.join()
    assert isinstance(waiter.error, httpcore.NetworkError)


def test_what_a_child_was_given_works_on_after_the_refusal(ends):
    code = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); print(s.recv(9))"
    with serving("echo") as address, closing(socket.create_connection(address)) as (sock,):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(sock.fileno())],
            pass_fds=[sock.fileno()],
            stdout=subprocess.PIPE,
        )
        waiter = Waiter(lambda: sock.recv(9, socket.MSG_PEEK))
        assert not waiter.end(ends).ended
        sock.sendall(b"0 whole\n")
        assert child.communicate(timeout=10)[0] == b"b'whole\\n'\n"
        waiter.join()


class Race:
    """Threads whose answers arrive at about their deadline, and a pool of their connections."""

    def __init__(self, address):
        self.address = address
        self.free, self.wrong, self.done = [], [], []
        self.stop = threading.Event()

    def serve(self, number, slot):
        choice = random.Random(number)
        while not self.stop.is_set():
            number += 100
            slot.request = request = [time.monotonic() + 0.003 + choice.uniform(-4e-4, 1e-3), False]
            error = self.ask(b"%d\n" % number)
            slot.request = None
            self.done.append((request, error))

    def ask(self, token):
        sock = self.free.pop() if self.free else socket.create_connection(self.address)
        try:
            sock.sendall(b"0.003 " + token)
            found = sock.recv(50)
        except OSError as error:
            sock.close()
            return error
        if found != token:
            self.wrong.append((token, found))
        self.free.append(sock)
        return None


def end_if_due(ends, waiter, slot):
    request = slot.request
    if request is None or time.monotonic() < request[0]:
        return
    wait = waits.wait_of(waiter.native)
    if wait is not None:
        still = Still.attribute(slot, "request", request)
        request[1] |= ends.end(wait, 1, still, list).ended


def test_a_wait_that_is_over_at_the_moment_of_its_end_breaks_no_request_of_others():
    """Answers arrive while the ends are under way, and the connections go round among threads."""
    with serving("echo") as address:
        ends, race = Ends(waits_sockets.snapshot(), most=10**9), Race(address)
        pairs = []
        for number in range(6):
            slot = Slot(None)
            pairs.append((Waiter(partial(race.serve, number, slot)), slot))
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for waiter, slot in pairs:
                end_if_due(ends, waiter, slot)
            time.sleep(0.0002)
        race.stop.set()
        for waiter, _ in pairs:
            waiter.join()
            assert waiter.error is None
        for sock in race.free:
            sock.close()
    assert sum(request[1] for request, _ in race.done) > 5, "there was no race"
    assert not race.wrong
    assert not [error for request, error in race.done if error is not None and not request[1]]


def test_ends_leak_no_descriptors(ends):
    with serving("echo") as address:
        for turn in range(30):
            if turn == 5:
                before = len(os.listdir("/proc/self/fd"))
            with closing(socket.create_connection(address)) as (sock,):
                waiter = Waiter(lambda sock=sock: sock.recv(1))
                assert waiter.end(ends).ended
                waiter.join()
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_redis_pool_gives_a_good_connection_next(ends):
    redis = pytest.importorskip("redis")
    from bench.waits import servers

    try:
        servers.find("redis-server")
    except servers.Missing as missing:
        pytest.skip(str(missing))
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with servers.redis() as port:
        pool = redis.ConnectionPool(
            port=port, retry=Retry(NoBackoff(), 0), socket_timeout=None, max_connections=1
        )
        client = redis.Redis(connection_pool=pool)
        for _ in range(3):
            assert client.set("a", "b")
            waiter = Waiter(lambda: client.blpop("nothing", 60))
            assert waiter.end_soon(ends).how == RESET
            waiter.join()
            assert isinstance(waiter.error, redis.ConnectionError)
        assert client.get("a") == b"b"
        pool.disconnect()


def test_a_psycopg2_pool_gives_a_good_connection_next(ends):
    psycopg2 = pytest.importorskip("psycopg2")
    from psycopg2.pool import SimpleConnectionPool

    from bench.waits import servers

    try:
        servers.find("postgres")
        server = servers.postgres()
    except servers.Missing as missing:
        pytest.skip(str(missing))

    def run(statement):
        connection = pool.getconn()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()
        finally:
            pool.putconn(connection)

    with server as port:
        pool = SimpleConnectionPool(
            1, 1, host="127.0.0.1", port=port, user="app", dbname="postgres", sslmode="disable"
        )
        for _ in range(3):
            assert run("select 1") == [(1,)]
            waiter = Waiter(lambda: run("select pg_sleep(60)"))
            assert waiter.end_soon(ends).how == RESET
            waiter.join()
            assert isinstance(waiter.error, psycopg2.OperationalError)
        assert run("select 2") == [(2,)]
        pool.closeall()
