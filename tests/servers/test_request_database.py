"""What is left of a deadline reaches the database: real PostgreSQL, MySQL and MariaDB, and SQLite."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.servers.databases import mariadb, mysql, postgresql
from tests.servers.requests_common import ROOT

pytestmark = pytest.mark.servers

SCRIPT = """
import json, sys, time
import django
from django.conf import settings

try:
    import pymysql
    pymysql.install_as_MySQLdb()
except ImportError:
    pass
settings.configure(
    INSTALLED_APPS=["resilient_wsgi.django"],
    DATABASES={"default": json.loads(sys.argv[1])},
    RESILIENT_WSGI={"REQUEST": {"DATABASE_TIMEOUT": sys.argv[2]}},
)
django.setup()
from django.db import OperationalError, connection, transaction
from resilient_wsgi import deadline

NAME = "mariadb" if connection.vendor == "mysql" and connection.mysql_is_mariadb else connection.vendor
COUNT = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT {} count(*) FROM n"
QUICK = "SELECT 1"
SLOW = {
    "postgresql": "SELECT pg_sleep(0.7)",
    "mariadb": "SELECT SLEEP(0.7)",
    "mysql": COUNT.format("/*+ SET_VAR(cte_max_recursion_depth = 4000000) */"),  # its SLEEP() ends without an error
    "sqlite": COUNT.format(""),
}[NAME]
LEFT_BEHIND = {
    "postgresql": "SHOW statement_timeout", "mariadb": "SELECT @@max_statement_time", "mysql": "SELECT @@max_execution_time"
}


def run(sql):
    begin = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.fetchall()
    except OperationalError as error:
        return ["ended", round(time.monotonic() - begin, 2), str(error).splitlines()[0]]
    return ["done", round(time.monotonic() - begin, 2), ""]


found = {}
with deadline.limit(0.05):
    found["slow, limited"] = run(SLOW)
    found["quick, no time left"] = run(QUICK)
with deadline.limit(60):
    found["quick, limited"] = run(QUICK)
    found["slow, long limit"] = run(SLOW)
found["slow, no limit"] = run(SLOW)
if connection.vendor != "sqlite":
    with deadline.limit(0.3):
        try:
            with transaction.atomic():
                found["in a transaction"] = run(SLOW)
        except Exception as error:
            found["of the transaction"] = str(error)
    found["after it"] = run(SLOW)
    with deadline.limit(60):
        run(QUICK)
    with transaction.atomic():
        run(QUICK)
        transaction.set_rollback(True)
    with connection.cursor() as cursor:
        cursor.execute(LEFT_BEHIND[NAME])
        found["left behind"] = str(cursor.fetchone()[0])
if connection.vendor == "mysql":
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS written")
        cursor.execute("CREATE TABLE written (x INT)")
    with deadline.limit(0.3):
        found["a write"] = run("INSERT INTO written SELECT SLEEP(0.7)")
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM written")
        found["written"] = cursor.fetchone()[0]
print(json.dumps(found))
"""


def ask(database, switch="on"):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(database), switch],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_postgresql_ends_a_statement_at_the_deadline_and_no_other():
    with postgresql() as database:
        found = ask(database)
        assert found["slow, limited"][0] == "ended"
        assert "statement timeout" in found["slow, limited"][2]
        for what in ("quick, limited", "slow, long limit", "slow, no limit", "after it"):
            assert found[what][0] == "done", what
        assert found["in a transaction"][0] == "ended"
        assert found["left behind"] == "0"


def test_mariadb_ends_a_statement_at_the_deadline_and_no_other():
    with mariadb() as database:
        found = ask(database)
        assert found["slow, limited"][0] == "ended"
        assert "max_statement_time exceeded" in found["slow, limited"][2]
        assert found["slow, limited"][1] < 0.5
        for what in ("quick, limited", "slow, long limit", "slow, no limit", "after it"):
            assert found[what][0] == "done", what
        assert found["in a transaction"][0] == found["a write"][0] == "ended"
        assert found["written"] == 0
        assert float(found["left behind"]) == 0


def test_mysql_ends_a_select_at_the_deadline_and_no_other_statement():
    with mysql() as database:
        found = ask(database)
        assert found["slow, limited"][0] == "ended"
        assert "maximum statement execution time exceeded" in found["slow, limited"][2]
        assert found["slow, limited"][1] < 0.5
        for what in ("quick, limited", "slow, long limit", "slow, no limit", "after it", "a write"):
            assert found[what][0] == "done", what
        assert found["slow, no limit"][1] > 0.5
        assert found["in a transaction"][0] == "ended"
        assert found["written"] == 1
        assert found["left behind"] == "0"
        assert ask(database, "off")["slow, limited"][0] == "done"


def test_sqlite_ends_a_statement_at_the_deadline_and_no_other():
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    found = ask(database)
    assert found["slow, limited"][0] == "ended"
    assert "interrupted" in found["slow, limited"][2]
    for what in ("quick, limited", "slow, long limit", "slow, no limit"):
        assert found[what][0] == "done", what
    assert ask(database, "off")["slow, limited"][0] == "done"


@pytest.mark.parametrize(
    ("mariadb", "statements"),
    [
        (False, ["SET SESSION max_execution_time = 4", "SET SESSION max_execution_time = DEFAULT"]),
        (True, ["SET SESSION max_statement_time = 4", "SET SESSION max_statement_time = DEFAULT"]),
    ],
)
def test_mysql_is_told_what_is_left(mariadb, statements):
    code = """
import django
from django.conf import settings
settings.configure()
django.setup()
from resilient_wsgi import deadline
from resilient_wsgi.django.database import limited

told = []

class Cursor:
    execute = staticmethod(told.append)
    def close(self): pass

class Connection:
    vendor, needs_rollback, in_atomic_block, mysql_is_mariadb = "mysql", False, False, %r
    connection = type("Raw", (), {"cursor": staticmethod(Cursor)})

def run():
    return limited(lambda *given: "result", "SELECT 1", None, False, {"connection": connection})

connection = Connection()
with deadline.limit(4.9999):
    assert run() == "result"
assert run() == "result"
assert run() == "result"
print("|".join(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", code % mariadb],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().split("|")
    assert first.startswith(statements[0])
    assert second == statements[1]
