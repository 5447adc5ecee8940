"""Drivers on real servers: what their waits are ended by, and what that leaves behind."""

from __future__ import annotations

import time

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.drivers.component import Drivers
from resilient_wsgi.settings import options
from tests.servers.databases import mariadb, postgresql

pytestmark = pytest.mark.servers
LIMIT = 0.4


@pytest.fixture(scope="module")
def postgres():
    psycopg = pytest.importorskip("psycopg")
    with postgresql() as settings:

        def connect(**more):
            return psycopg.connect(
                host=settings["HOST"], user="app", dbname="postgres", autocommit=True, **more
            )

        yield connect


@pytest.fixture(autouse=True)
def drivers():
    component = Drivers.here()
    component.install(options.Drivers())
    yield component
    component.uninstall()


def test_postgresql_cancels_a_statement_and_the_connection_goes_on(postgres):
    statement = "select pg_sleep(20) as mine"  # other tests leave theirs running
    with postgres() as connection:
        began = time.monotonic()
        with pytest.raises(deadline.DeadlineExceeded) as raised, deadline.limit(LIMIT):
            connection.execute(statement)
        assert time.monotonic() - began < LIMIT + 0.35
        assert type(raised.value).__name__ in ("QueryCanceled", "OperationalError")
        if not connection.closed:
            assert connection.execute("select 1").fetchone() == (1,)
    with postgres() as other:
        query = f"select count(*) from pg_stat_activity where query = '{statement}'"
        until = time.monotonic() + 5
        while other.execute(f"{query} and state = 'active'").fetchone() != (0,):
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_wait_for_notifications_ends_and_the_connection_goes_on(postgres):
    with postgres() as connection:
        with pytest.raises(deadline.DeadlineExceeded), deadline.limit(LIMIT):
            list(connection.notifies())
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_copy_ends(postgres):
    slow = "copy (select pg_sleep(1) from generate_series(1, 20)) to stdout"
    with postgres() as connection, connection.cursor() as cursor:
        with pytest.raises(deadline.DeadlineExceeded), deadline.limit(LIMIT):
            with cursor.copy(slow) as copy:
                list(copy)


def test_in_a_pipeline_the_connection_is_closed(postgres):
    with postgres() as connection:
        with pytest.raises(deadline.DeadlineExceeded), deadline.limit(LIMIT):
            with connection.pipeline():
                connection.execute("select pg_sleep(20)").fetchone()
        assert connection.closed


def test_statements_that_are_quick_meet_nothing(postgres):
    with postgres() as connection, deadline.limit(20):
        for number in range(200):
            assert connection.execute("select %s::int", [number]).fetchone() == (number,)


def test_a_rollback_after_the_deadline_succeeds(postgres):
    with postgres() as connection:
        connection.autocommit = False
        with deadline.limit(0.05):
            connection.execute("create table gone (a int)")
            time.sleep(0.1)
            connection.rollback()
        assert connection.execute("select to_regclass('gone')").fetchone() == (None,)


def test_a_commit_may_take_longer_than_the_deadline(postgres):
    with postgres() as connection:
        connection.execute("create table if not exists kept (a int)")
        connection.execute(
            "create or replace function slow() returns trigger language plpgsql as "
            "'begin perform pg_sleep(0.6); return null; end'"
        )
        connection.execute(
            "create constraint trigger slow after insert on kept deferrable initially deferred "
            "for each row execute function slow()"
        )
        connection.autocommit = False
        with deadline.limit(0.3):
            connection.execute("insert into kept values (1)")
            connection.commit()
        assert connection.execute("select a from kept").fetchone() == (1,)


@pytest.mark.parametrize("given", ["", "-c statement_timeout=77ms"])
def test_statement_timeout_is_set_in_requests_alone(postgres, drivers, given, monkeypatch):
    drivers.install(options.Drivers(statement_timeout=1.5))
    more = {"options": given} if given else {}
    with postgres(**more) as connection:
        (outside,) = connection.execute("show statement_timeout").fetchone()
    monkeypatch.setattr(deadline, "in_request", lambda: True)
    with postgres(**more) as connection:
        (inside,) = connection.execute("show statement_timeout").fetchone()
    assert (outside, inside) == (("77ms", "77ms") if given else ("0", "1500ms"))


def test_mariadb_ends_a_query_and_the_connection_is_closed():
    pymysql = pytest.importorskip("pymysql")
    with mariadb() as settings:
        connection = pymysql.connect(unix_socket=settings["HOST"], user="root")
        began = time.monotonic()
        with pytest.raises(pymysql.err.OperationalError) as raised, deadline.limit(LIMIT):
            connection.cursor().execute("select sleep(20)")
        assert time.monotonic() - began < LIMIT + 0.3
        assert isinstance(raised.value, deadline.DeadlineExceeded)
        assert not connection.open
