"""What README tells a new user to write works, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(begin):
    """Return the code block that begins with a line."""
    return re.search(rf"```python\n({re.escape(begin)}\n.*?)```", README, re.DOTALL)[1]


def test_the_lines_for_any_wsgi_app_work():
    names = {"application": lambda environ, start_response: [b"x"]}
    exec(block("# Flask or any WSGI app, on uWSGI or gunicorn"), names)
    names["resilient_wsgi"].install().uninstall()
    assert list(names["application"]({"REQUEST_METHOD": "GET"}, None)) == [b"x"]


def test_the_line_for_django_is_the_one_of_its_page():
    page = (Path(__file__).parents[2] / "docs" / "start" / "django-uwsgi.md").read_text()
    assert '"resilient_wsgi.django"' in block("# Django: settings.py")
    assert '"resilient_wsgi.django"' in page


@pytest.mark.parametrize("line", ["shared-import = resilient_wsgi.uwsgi", "hook-accepting = rpc:"])
def test_the_lines_for_uwsgi_are_those_of_its_page(line):
    page = (Path(__file__).parents[2] / "docs" / "start" / "django-uwsgi.md").read_text()
    assert line in README
    assert line in page
