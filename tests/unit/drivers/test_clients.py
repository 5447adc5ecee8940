"""Each driver, hung in each phase: its wait ends at the deadline, with its own exception."""

from __future__ import annotations

import contextlib
import pickle
import smtplib
import ssl
import time

import pytest

from resilient_wsgi import deadline
from tests.unit.drivers.conftest import ended

redis = pytest.importorskip("redis")
pymysql = pytest.importorskip("pymysql")
psycopg = pytest.importorskip("psycopg")
kombu = pytest.importorskip("kombu")
pytest.importorskip("kombu.exceptions")
memcached = pytest.importorskip("pymemcache.client.base")

GREETING = (
    b"\x0a8.0.30\x00\x08\x00\x00\x00abcdefgh\x00\xff\xf7\x21\x02\x00\xff\xc1\x15"
    + b"\x00" * 10
    + b"abcdefghijkl\x00mysql_native_password\x00"
)
MYSQL = (False, len(GREETING).to_bytes(3, "little") + b"\x00" + GREETING)
OK = b"\x07\x00\x00%c\x00\x00\x00\x02\x00\x00\x00"
MYSQL_LOGIN = [MYSQL, (True, OK % 2), (True, OK % 1)]  # the last one: SET NAMES
PLAIN = {"ssl_disabled": True, "autocommit": None}


def as_redis(port, **more):
    return redis.Redis("127.0.0.1", port, **more).get("a")


def as_mysql(port, **more):
    return pymysql.connect(host="127.0.0.1", port=port, user="a", **{**PLAIN, **more})


def as_psycopg(port, **more):
    return psycopg.connect(host="127.0.0.1", port=port, user="a", **more)


def as_mail(port):
    return smtplib.SMTP("127.0.0.1", port)


def as_memcached(port):
    return memcached.Client(("127.0.0.1", port)).get("a")


def as_kombu(port):
    with kombu.Connection(f"amqp://127.0.0.1:{port}//") as connection:
        kombu.Producer(connection).publish("a", retry=True, routing_key="a")


CALLS = {
    "redis": (as_redis, redis.exceptions.TimeoutError),
    "pymysql": (as_mysql, pymysql.err.OperationalError),
    "psycopg": (as_psycopg, psycopg.OperationalError),
    "smtplib": (as_mail, (smtplib.SMTPServerDisconnected, TimeoutError, OSError)),
    "pymemcache": (as_memcached, OSError),
    "kombu": (as_kombu, kombu.exceptions.OperationalError),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_says_nothing(name, stub, happened):
    call, kind = CALLS[name]
    server = stub()
    with ended(kind) as raised:
        call(server.port)
    assert server.connections == 1, "it was tried again"
    (event,) = happened
    assert event.count == 1
    assert event.limited_by == "deadline"
    assert event.caller.startswith(__file__)
    assert type(raised.value).__name__ not in ("DeadlineExceeded", "type")
    if name != "psycopg":  # a connection that is being made has no peer yet
        assert f"127.0.0.1:{server.port}" in str(raised.value)


@pytest.mark.parametrize("name", CALLS)
def test_a_blackhole(name, blackhole, happened):
    call, kind = CALLS[name]
    with ended(kind):
        call(blackhole)
    assert {event.phase for event in happened} == {"connect"}


@pytest.mark.parametrize("name", ["redis", "smtplib", "pymemcache"])
def test_a_server_that_goes_on_with_less_than_a_line(name, stub):
    call, kind = CALLS[name]
    with ended(kind):
        call(stub(drip=b"+").port)


def test_a_query_of_pymysql_and_what_it_leaves_behind(stub):
    server = stub(*MYSQL_LOGIN)
    connection = as_mysql(server.port)
    with ended(pymysql.err.OperationalError) as raised:
        connection.query("select 1")
    assert raised.value.args[0] == 2013
    assert not connection.open


def test_a_write_of_pymysql(stub):
    connection = as_mysql(stub(*MYSQL_LOGIN).port)
    with ended(pymysql.err.OperationalError) as raised:
        connection.query("select '%s'" % ("x" * 8_000_000))
    assert raised.value.args[0] == 2006


def test_a_commit_may_take_longer(stub, monkeypatch):
    monkeypatch.setattr("resilient_wsgi.drivers.sockets.COMMIT_GRACE", 0.4)
    connection = as_mysql(stub(*MYSQL_LOGIN).port)
    began = time.monotonic()
    with pytest.raises(deadline.DeadlineExceeded), deadline.limit(0.3):
        connection.commit()
    assert time.monotonic() - began >= 0.69


@pytest.mark.parametrize(
    "call",
    [
        lambda port: as_redis(port, ssl=True, ssl_cert_reqs=None),
        lambda port: smtplib.SMTP_SSL("127.0.0.1", port),
        lambda port: kombu.Connection(
            f"amqps://127.0.0.1:{port}//", ssl={"cert_reqs": ssl.CERT_NONE}
        ).connect(),
        lambda port: memcached.Client(
            ("127.0.0.1", port), tls_context=ssl.create_default_context()
        ).get("a"),
    ],
    ids=["redis", "smtplib", "amqp", "pymemcache"],
)
def test_a_tls_handshake(call, stub):
    with ended((redis.exceptions.TimeoutError, OSError)):
        call(stub().port)


def test_starttls(stub):
    hello = (True, b"250-a\r\n250 STARTTLS\r\n")
    server = stub((False, b"220 a\r\n"), hello, (True, b"220 go\r\n"))
    client = as_mail(server.port)
    with ended(OSError):
        client.starttls()


def test_a_blocking_command_waits_for_as_long_as_it_was_asked_to(stub):
    began = time.monotonic()
    client = redis.Redis(
        "127.0.0.1", stub((True, b"+OK\r\n")).port, protocol=2, socket_timeout=None
    )
    with contextlib.suppress(redis.exceptions.RedisError), deadline.limit(0.5):
        client.blpop("a", 60)
    assert 0.49 <= time.monotonic() - began < 0.9


def test_a_number_of_the_caller_is_kept_and_raises_what_it_did(stub):
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    with pytest.raises(redis.exceptions.TimeoutError) as raised, deadline.limit(5):
        as_redis(stub().port, socket_timeout=0.1, retry=retry)
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


def test_without_a_deadline_only_connecting_is_limited(drivers, blackhole, happened, stub):
    drivers.install(drivers_options(connect_timeout=0.2))
    began = time.monotonic()
    with pytest.raises(OSError):
        as_memcached(blackhole)
    assert time.monotonic() - began < 0.5
    (event,) = happened
    assert (event.phase, event.limited_by) == ("connect", "setting")
    client = memcached.Client(("127.0.0.1", stub().port), timeout=0.4)
    began = time.monotonic()
    with pytest.raises(OSError) as raised:
        client.get("a")
    assert time.monotonic() - began >= 0.39
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


def drivers_options(**given):
    from resilient_wsgi.settings import options

    return options.Drivers(**given)


def test_what_begins_after_the_deadline_gets_a_moment(stub):
    server = stub(
        (True, b"+OK\r\n"), (True, b"+OK\r\n"), (True, b"+OK\r\n"), (True, b"$1\r\na\r\n")
    )
    client = redis.Redis("127.0.0.1", server.port, protocol=2)
    with deadline.limit(0.0):
        began = time.monotonic()
        with contextlib.suppress(redis.exceptions.ResponseError):
            client.get("a")
        with pytest.raises(deadline.DeadlineExceeded):
            for _ in range(4):
                client.get("a")
        assert time.monotonic() - began < 0.9


def test_a_connection_that_was_cut_is_not_used_again(stub):
    server = stub((True, b"+OK\r\n"))
    pool = redis.ConnectionPool(host="127.0.0.1", port=server.port, protocol=2)
    client = redis.Redis(connection_pool=pool)
    with ended(redis.exceptions.TimeoutError):
        client.get("a")
    with ended(redis.exceptions.TimeoutError):
        client.get("a")
    assert server.connections == 2


def test_the_exception_can_be_pickled(stub):
    with ended() as raised:
        as_redis(stub().port)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert isinstance(copy, redis.exceptions.TimeoutError)
    assert isinstance(copy, deadline.DeadlineExceeded)
    assert str(copy) == str(raised.value)


def test_an_error_in_the_handler_of_one_of_ours_is_its_own(stub):
    with deadline.limit(0.2):
        try:
            as_memcached(stub().port)
        except OSError:
            with pytest.raises(redis.exceptions.ConnectionError) as raised:
                as_redis(1)
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


@pytest.mark.parametrize("name", sorted({*CALLS} - {"redis", "kombu"}))  # they try for seconds
def test_a_dry_run_ends_nothing_and_tells(name, drivers, stub, happened):
    drivers.install(drivers_options(mode="report"))
    server = stub()
    call, _ = CALLS[name]
    began = time.monotonic()

    def close():
        time.sleep(0.5)
        server.close()

    import threading

    threading.Thread(target=close, daemon=True).start()
    with contextlib.suppress(Exception), deadline.limit(0.3):
        call(server.port)
    assert time.monotonic() - began >= 0.49
    assert happened
    assert all(event.dry_run for event in happened)


def test_an_exempt_driver_is_left_alone(drivers, stub):
    drivers.install(drivers_options(exempt=("pymemcache",)))
    assert any(line == "exempt: pymemcache" for line in drivers.status())
    client = memcached.Client(("127.0.0.1", stub().port), timeout=0.5)
    began = time.monotonic()
    with pytest.raises(OSError) as raised, deadline.limit(0.1):
        client.get("a")
    assert time.monotonic() - began >= 0.49
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


def test_uninstalled_nothing_is_left(drivers, stub):
    client = memcached.Client(("127.0.0.1", stub((True, b"END\r\n")).port), timeout=0.5)
    client.get("a")
    drivers.uninstall()
    assert redis.connection.Connection._connect.__module__ == "redis.connection"
    assert ssl.SSLContext.wrap_socket.__module__ == "ssl"
    assert not hasattr(smtplib.SMTP.send, "__wrapped__")
    began = time.monotonic()
    with pytest.raises(OSError), deadline.limit(0.1):  # an open connection, too
        client.get("a")
    assert time.monotonic() - began >= 0.49


def test_the_status_names_what_is_limited_and_what_is_not_known(drivers, monkeypatch):
    assert any(line.startswith("limited: ") and "redis" in line for line in drivers.status())
    drivers.uninstall()
    monkeypatch.delattr(memcached.Client, "_connect")
    lines = drivers.install(drivers_options())
    assert any("not limited: pymemcache (unknown version" in line for line in lines), lines


def test_psycopg_connects_within_the_default_limit(drivers, blackhole, happened):
    drivers.install(drivers_options(connect_timeout=0.2))
    began = time.monotonic()
    with pytest.raises(psycopg.errors.ConnectionTimeout) as raised:
        as_psycopg(blackhole)
    assert time.monotonic() - began < 0.6
    assert isinstance(raised.value, deadline.DeadlineExceeded)
    assert "DRIVERS.CONNECT_TIMEOUT" in str(raised.value)
    assert [event.limited_by for event in happened] == ["setting"]


def test_a_connect_timeout_that_was_given_to_psycopg_is_kept(drivers, blackhole, monkeypatch):
    drivers.install(drivers_options(connect_timeout=0.2))
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    began = time.monotonic()
    with pytest.raises(psycopg.errors.ConnectionTimeout) as raised:
        as_psycopg(blackhole)
    assert time.monotonic() - began > 1.9
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


def test_what_is_wrong_with_the_arguments_of_psycopg_is_psycopgs_to_say(happened):
    with pytest.raises(psycopg.ProgrammingError) as raised:
        psycopg.connect("what is this")
    assert not isinstance(raised.value, deadline.DeadlineExceeded)


class NotASocket:
    """What a test may put in the place of a socket."""


def test_what_is_no_socket_is_left_alone(drivers, monkeypatch):
    sockets = drivers._patched_with().sockets
    thing = NotASocket()
    sockets.adopt(thing, "redis")
    assert type(thing) is NotASocket
    ours, theirs = __import__("socket").socketpair()
    with monkeypatch.context() as patched:
        patched.setattr("socket.socket", lambda *_: None)
        sockets.adopt(ours, "redis")
        assert "Limited" not in type(ours).__name__
    sockets.adopt(ours, "redis")
    kind = type(ours)
    sockets.adopt(ours, "redis")
    assert type(ours) is kind
    for each in (ours, theirs):
        each.close()


class Once:
    """A callable object without a name, as kombu wraps them itself."""

    __name__ = None

    def revive(self, channel):
        """For kombu."""

    def __call__(self):
        return "done"


def test_kombu_ensures_what_has_no_name():
    connection = kombu.Connection("memory://")
    once = Once()
    with deadline.limit(1):
        assert connection.ensure(once, once)() == "done"
