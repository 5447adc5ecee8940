"""Configurations that the project itself recommends have no error and no warning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.model import Severity
from resilient_wsgi.doctor.rules.examples import PREFORK

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "start").glob("*.md"))]
BLOCKS = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"```\w*[^\n]*\n(.*?)```", page.read_text(), re.DOTALL)
    )
    if text.lstrip().startswith("[uwsgi]")
]


def bad(files):
    return [each for each in examine(from_texts(files)) if each.severity is not Severity.HINT]


def test_there_are_such_configurations():
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("text", BLOCKS)
def test_a_recommended_uwsgi_ini_is_good(text):
    assert bad({"uwsgi.ini": text}) == []


def test_the_base_of_the_examples_is_good():
    assert bad({"uwsgi.ini": PREFORK, "machine": "uwsgi = 2.0.31\npython = 3.13.1"}) == []
