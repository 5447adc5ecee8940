"""gunicorn's settings are read from a file that is never run, and from command lines."""

from __future__ import annotations

import pytest

from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.rules.gunicorn_facts import instances


def settings(text):
    (file,) = from_texts({"gunicorn.conf.py": text}).gunicorn
    return file


def test_a_file_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    file = settings(f"open({str(mark)!r}, 'w')\nworkers = 3\n")
    assert file.number("workers") == 3
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("workers = 4", 4),
        ("workers = 2 * 4 + 1", 9),
        ("workers = -7 // -2", 3),
        ("n = 3\nworkers = n", 3),
        ("workers: int = 5", 5),
        ("a = workers = 6", 6),
        ("workers = 4 // 0", None),
        ("workers = 10 ** 10 ** 10", None),
        ("workers = 99999999999999 * 99999999999999", None),
        ("workers = os.cpu_count()", None),
        ("if x:\n    workers = 4", None),
        ("try:\n    workers = 4\nexcept E:\n    workers = 5", None),
        ("workers = 4\nif x:\n    workers = 5", None),
        ("def f():\n    workers = 9\nworkers = 2", 2),
        ("workers = True", None),
    ],
)
def test_a_number_is_known_only_if_it_is_certain(text, value):
    assert settings(text).number("workers") == value


@pytest.mark.parametrize(
    "text",
    ["workers = (", "\0", "workers = " + "(" * 500 + ")" * 500, "workers = " + "1+" * 20000 + "1"],
)
def test_what_is_no_python_is_not_looked_at(text):
    subject = from_texts({"gunicorn.conf.py": text})
    assert len(subject.gunicorn) + len(subject.not_looked) == 1


def test_a_huge_file_is_not_looked_at():
    subject = from_texts({"gunicorn.conf.py": "workers = 4\n" * 50_000})
    assert [each.why for each in subject.not_looked] == ["larger than 256 KB"]


def test_a_file_of_another_name_is_recognised_by_its_settings():
    assert from_texts({"prod.py": "bind = ':80'\nworkers = 4\n"}).gunicorn
    assert not from_texts({"prod.py": "bind = ':80'\n"}).gunicorn
    assert not from_texts({"app.txt": "bind = ':80'\nworkers = 4\n"}).gunicorn


def test_a_command_line_wins_over_its_file_and_its_environment():
    line = "web: GUNICORN_CMD_ARGS='--timeout 40 -w3' gunicorn -c conf.py -w 5 --preload app:app\n"
    files = {"conf.py": "workers = 2\nbind = ''\ntimeout = 30\nkeepalive = 7\n", "Procfile": line}
    (instance,) = instances(from_texts(files))
    names = ("workers", "timeout", "keepalive", "preload_app")
    assert [instance.settings.value(each) for each in names] == [5, 40, 7, True]


def test_gunicorn_reads_gunicorn_conf_py_without_being_told():
    files = {"gunicorn.conf.py": "workers = 2\n", "Procfile": "web: gunicorn app\n"}
    (instance,) = instances(from_texts(files))
    assert instance.settings.number("workers") == 2
