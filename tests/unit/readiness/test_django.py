"""What readiness can ask of a Django project: its database, its migrations.

Each in a process of its own, with sqlite.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("django")

FILES = {
    "settings.py": """
import os
SECRET_KEY = "not one"
INSTALLED_APPS = ["things"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": os.environ.get("ENGINE", "django.db.backends.sqlite3"),
        "NAME": os.environ["DATABASE"],
    },
    "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
if "ONE" in os.environ:
    del DATABASES["archive"]
""",
    "things/__init__.py": "",
    "things/models.py": """
from django.db import models


class Thing(models.Model):
    id = models.AutoField(primary_key=True)
""",
    "things/migrations/__init__.py": "",
    "things/migrations/0001_initial.py": """
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Thing", [("id", models.AutoField(primary_key=True, serialize=False))]
        )
    ]
""",
    "hanging/__init__.py": "",
    "hanging/base.py": """
import time
from django.db.backends.sqlite3.base import DatabaseWrapper as Sqlite


class DatabaseWrapper(Sqlite):
    def get_new_connection(self, conn_params):
        time.sleep(60)
""",
}
BEGIN = """
import time
import django
django.setup()
from django.core.management import call_command
from django.db import connections
from resilient_wsgi import readiness
from resilient_wsgi.django.readiness import database, migrations
from resilient_wsgi.readiness import checks

def becomes(name, condition):
    end = time.monotonic() + 10
    while not condition(dict(checks.problems())[name]) and time.monotonic() < end:
        time.sleep(0.02)
    return dict(checks.problems())[name]
"""


@pytest.fixture
def run(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(code, database="db.sqlite3", **env):
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "settings",
            "DATABASE": str(tmp_path / database),
            **env,
        }
        done = subprocess.run(
            [sys.executable, "-c", BEGIN + code],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert not done.stderr
        return done.stdout.splitlines()

    return run


def test_a_database_that_answers_is_ready_and_no_connection_is_left(run):
    code = "print(database()); print([one for one in connections.all() if one.connection])"
    assert run(code) == ["True", "[]"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/such/folder/db", "unable to open database file"),
        ("settings.py", "file is not a database"),
    ],
)
def test_a_broken_database_is_not_ready_and_the_reason_is_said(run, name, reason):
    code = """
readiness.check(database); checks.start()
print(becomes('database', lambda said: 'not run' not in said))
"""
    (said,) = run(code, name)
    assert reason in said
    assert "'default'" in said


def test_a_database_that_comes_back_is_ready_again(run, tmp_path):
    code = """
import os
readiness.check(interval=0.1)(database); checks.start()
print(becomes('database', lambda said: 'unable' in said))
os.mkdir(os.path.dirname(os.environ["DATABASE"]))
print(becomes('database', lambda said: not said) or "ready")
"""
    said = run(code, "later/db.sqlite3")
    assert "unable to open" in said[0]
    assert said[1] == "ready"


def test_a_database_that_hangs_is_not_ready_and_keeps_nobody_waiting(run):
    code = """
readiness.check(timeout=0.3)(database); readiness.check(timeout=0.3)(migrations); checks.start()
begin = time.monotonic()
for name in ("database", "migrations"):
    print(becomes(name, lambda said: "longer" in said))
print(time.monotonic() - begin < 3)
"""
    assert run(code, ENGINE="hanging") == [
        "takes longer than 0.3 s",
        "takes longer than 0.3 s",
        "True",
    ]


def test_migrations_that_are_not_applied_are_named_until_they_are(run):
    code = """
print(migrations())
call_command("migrate", verbosity=0)
print(migrations())
"""
    assert run(code, ONE="1") == [
        "1 migrations of 'default' are not applied: things.0001_initial",
        "True",
    ]


def test_once_all_are_applied_the_database_is_not_asked_again(run):
    code = """
call_command("migrate", verbosity=0)
print(migrations())
connections.create_connection = None
print(migrations())
"""
    assert run(code, ONE="1") == ["True", "True"]


def test_each_database_has_its_migrations(run):
    code = """
call_command("migrate", verbosity=0)
print(migrations())
"""
    assert run(code) == ["1 migrations of 'archive' are not applied: things.0001_initial"]
