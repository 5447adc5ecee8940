"""The server in a command line is found, whatever stands around it."""

import pytest

from resilient_wsgi.doctor.model import Location
from resilient_wsgi.doctor.read import command

HERE = Location("x", 1, "")


def only(found):
    (each,) = found
    return each


@pytest.mark.parametrize(
    "line",
    [
        "uwsgi --ini a.ini",
        "/usr/local/bin/uwsgi --ini a.ini",
        "exec uwsgi --ini a.ini",
        "cd /srv && exec /venv/bin/uwsgi --ini a.ini",
        "python manage.py migrate; uwsgi --ini a.ini",
        "A=1 B='2 3' uwsgi --ini a.ini",
        "env A=1 uwsgi --ini a.ini",
        "newrelic-admin run-program uwsgi --ini a.ini",
        "tini -- uwsgi --ini a.ini",
        "nice -n 5 uwsgi --ini a.ini",
        "gosu www-data uwsgi --ini a.ini",
        "python3.11 -m uwsgi --ini a.ini",
        "./wait-for-it.sh db:5432 -- uwsgi --ini a.ini",
        "resilient-wsgi exec -- uwsgi --ini a.ini",
        "poetry run uwsgi --ini a.ini",
        "uwsgi_python3 --ini a.ini",
        "uwsgi-core --ini a.ini",
        "pyuwsgi --ini a.ini",
        "if true; then uwsgi --ini a.ini; fi",
        "migrate\nuwsgi --ini a.ini",
        "uwsgi \\\n --ini a.ini",
    ],
)
def test_uwsgi_is_found(line):
    found = only(command.commands(line, HERE))
    assert (found.program, found.files()) == ("uwsgi", ["a.ini"])


@pytest.mark.parametrize(
    "line",
    [
        "echo uwsgi",
        "pip install uwsgi",
        "python manage.py runserver",
        "",
        "'",
        "uwsgi-manager",
        "--uwsgi",
    ],
)
def test_what_only_speaks_of_uwsgi_is_no_server(line):
    assert command.commands(line, HERE) == []


@pytest.mark.parametrize(
    ("words", "shell", "replaces"),
    [
        (["uwsgi", "a.ini"], "", True),
        (["sh", "-c", "uwsgi a.ini"], "sh", False),
        (["sh", "-c", "exec uwsgi a.ini"], "sh", True),
        (["/bin/bash", "-lc", "migrate && uwsgi a.ini"], "bash", True),
        (["/bin/bash", "-lc", "uwsgi a.ini | tee log"], "bash", False),
        (["/bin/bash", "-lc", "uwsgi a.ini; echo over"], "bash", False),
        (["tini", "--", "sh", "-ec", "exec uwsgi a.ini"], "sh", True),
    ],
)
def test_whether_a_shell_stands_between(words, shell, replaces):
    found = only(command.command(words, HERE))
    assert (found.shell, found.replaces) == (shell, replaces)


def test_the_environment_is_kept():
    assert only(command.commands("A=1 env B=2 gunicorn x", HERE)).environment == {
        "A": "1",
        "B": "2",
    }


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("gunicorn --workers 4 x", "4"),
        ("gunicorn --workers=4 x", "4"),
        ("gunicorn -w 4 x", "4"),
        ("gunicorn -w4 x", "4"),
        ("gunicorn -w 2 --workers 4", "4"),
        ("gunicorn x", None),
    ],
)
def test_values(line, value):
    assert only(command.commands(line, HERE)).value("-w", "--workers") == value


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("uwsgi a.ini", ["a.ini"]),
        ("uwsgi --ini=a.ini:prod", ["a.ini"]),
        ("uwsgi --ini a.ini --yaml b.yml", ["a.ini", "b.yml"]),
        ("uwsgi --master /etc/a.ini", []),  # may be the value of an option
        ("uwsgi -x a.xml", ["a.xml"]),
        ("uwsgi --http :80 --module x", []),
        ("gunicorn -c conf.py x", ["conf.py"]),
    ],
)
def test_configuration_files(line, files):
    assert only(command.commands(line, HERE)).files() == files


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gunicorn -b 0.0.0.0:${PORT:-80} a.b:c", ["-b", "0.0.0.0:${PORT:-80}", "a.b:c"]),
        ("gunicorn -b [::]:80 a:b, && x", ["-b", "[::]:80", "a:b,"]),
        ("gunicorn -w $(nproc) a:b", ["-w", "$SUBSTITUTED", "a:b"]),
        ("gunicorn -w $((2*$(nproc)+1)) a:b", ["-w", "$SUBSTITUTED", "a:b"]),
        ("gunicorn -c `pwd`/c.py a:b", ["-c", "$SUBSTITUTED/c.py", "a:b"]),
        ("(gunicorn a:b)&", ["a:b"]),
        ("case $1 in web) gunicorn a:b;; esac", ["a:b"]),
    ],
)
def test_a_word_ends_where_the_shell_ends_it(line, words):
    assert only(command.commands(line, HERE)).words == words


def test_what_a_shell_is_told_about_a_section_is_kept():
    found = only(command.commands("exec uwsgi --ini a.ini:prod --http-socket :8000", HERE))
    assert (found.files(), found.value("--http-socket")) == (["a.ini"], ":8000")
