"""`resilient-wsgi init`: finds the app without importing it, and writes what the doctor finds good."""

from __future__ import annotations

import contextlib
import io

import pytest

from resilient_wsgi.cli import main
from resilient_wsgi.doctor.collect import from_paths
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.init import project
from resilient_wsgi.doctor.model import Severity
from resilient_wsgi.doctor.subject import Subject

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
FLASK = "from flask import Flask\napp = Flask(__name__)\nraise SystemExit('imported')\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "My Site"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def make(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def init(*arguments):
    """Return exit code, output and error output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["init", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


PROJECTS = {
    "django": (
        {"manage.py": MANAGE.format("mysite.settings"), "mysite/wsgi.py": ""},
        ("mysite.wsgi:application", ""),
    ),
    "django, settings in a package": (
        {"manage.py": MANAGE.format("conf.settings.production"), "conf/wsgi.py": ""},
        ("conf.wsgi:application", ""),
    ),
    "django, in a folder": (
        {"backend/manage.py": MANAGE.format("x.settings"), "backend/x/wsgi.py": ""},
        ("x.wsgi:application", "backend"),
    ),
    "flask": ({"app.py": FLASK}, ("app:app", "")),
    "annotated": ({"app.py": "x: int\napp: Flask = Flask(__name__)\n"}, ("app:app", "")),
    "flask in a package": ({"shop/__init__.py": FLASK, "setup.py": FLASK}, ("shop:app", "")),
    "flask in src": ({"src/shop/main.py": FLASK}, ("shop.main:app", "src")),
    "factory": ({"shop/__init__.py": "def create_app():\n    pass\n"}, ("shop:create_app()", "")),
    "made by a factory": (
        {"wsgi.py": "from x import create_app\napplication = create_app()\n", "app.py": FLASK},
        ("wsgi:application", ""),
    ),
    "plain": (
        {"web.py": "def application(environ, start_response):\n    pass\n"},
        ("web:application", ""),
    ),
    "beside a broken module": ({"app.py": "def (", "web.py": FLASK}, ("web:app", "")),
}


@pytest.mark.parametrize(("files", "expected"), PROJECTS.values(), ids=PROJECTS)
def test_the_app_is_found(folder, files, expected):
    make(folder, files)
    found = project.find(str(folder))
    assert (found.app, found.chdir) == expected


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a.py": "x = 1"}, "no WSGI app was found"),
        ({}, "no WSGI app was found"),
        ({"main.py": "app = FastAPI()\n"}, "makes an ASGI app (FastAPI)"),
    ],
)
def test_without_an_app_nothing_is_written(folder, files, why):
    make(folder, files)
    code, out, err = init()
    assert (code, out) == (2, "")
    assert why in err
    assert not (folder / "uwsgi.ini").exists()


@pytest.mark.parametrize("more", [{}, {"Dockerfile": "FROM python\n"}], ids=["host", "container"])
def test_what_is_written_is_good_to_the_doctor(folder, more):
    make(folder, {"app.py": FLASK, ".venv/pyvenv.cfg": "", **more})
    code, out, _ = init()
    assert code == 0, out
    subject = Subject()
    from_paths(["."], subject)
    assert len([each for each in subject.sources.values() if each.kind != "image"]) == (
        2 if more else 3
    )
    assert [each for each in examine(subject) if each.severity is not Severity.HINT] == []
    (config,) = subject.uwsgi
    assert config.last("chdir").value == f"{folder}/"
    assert config.last("virtualenv").value == f"{folder}/.venv"


def test_the_units_names_are_fit_for_systemd_and_kubernetes(folder):
    make(folder, {"app.py": FLASK})
    init()
    assert (folder / "deploy" / "my-site.service").exists()


@pytest.mark.parametrize(
    ("name", "word"),
    [("a b", '"{}/a b/uwsgi.ini"'), ("50%n", "{}/50%%n/uwsgi.ini"), ("a$b", '"{}/a$$b/uwsgi.ini"')],
)
def test_systemd_is_told_the_folder_as_it_is(tmp_path, name, word):
    tmp_path = tmp_path / "p"  # its own name has none of these characters
    make(tmp_path / name, {"app.py": FLASK})
    init(tmp_path / name)
    (path,) = (tmp_path / name / "deploy").glob("*.service")
    lines = path.read_text().split("\n")
    assert f"ExecStart=/usr/local/bin/uwsgi --ini {word.format(tmp_path)}" in lines
    assert f"WorkingDirectory={tmp_path}/{name.replace('%', '%%')}" in lines


def test_a_folder_that_no_file_can_name_is_refused(tmp_path):
    make(tmp_path / "a\n[x]", {"app.py": FLASK})
    assert init(tmp_path / "a\n[x]")[0] == 2


def test_what_is_there_is_left_as_it_is(folder):
    make(folder, {"app.py": FLASK, "uwsgi.ini": "mine"})
    code, out, _ = init()
    assert code == 1
    assert "left uwsgi.ini as it is" in out
    assert (folder / "uwsgi.ini").read_text() == "mine"
    assert (folder / "deploy" / "nginx.conf").exists()


def test_print_writes_nothing_and_an_app_can_be_named(folder):
    code, out, _ = init("--app", "shop.web:make()", "--print")
    assert code == 0
    assert "module = shop.web:make()\n" in out
    assert list(folder.iterdir()) == []
    assert init("--app", "shop; rm -rf /")[0] == 2


def test_the_next_steps_name_the_library_unless_it_is_there(folder):
    make(folder, {"manage.py": MANAGE.format("m.settings"), "m/wsgi.py": "", "m/settings.py": ""})
    assert 'add "resilient_wsgi.django" to INSTALLED_APPS' in init("--print")[1] + init()[1]
    (folder / "m" / "settings.py").write_text('INSTALLED_APPS = ["resilient_wsgi.django"]')
    assert "INSTALLED_APPS" not in init()[1]
