"""What the documentation recommends has no errors and no warnings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.model import Severity

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in DOCS.glob("*/*.md") if BLOCK.search(page.read_text()))


def files_of(page):
    """Return the files that a page shows whole, by their names without folder."""
    blocks = BLOCK.findall(page.read_text())
    named = {Path(title).name: text for title, text in blocks if re.fullmatch(r"[\w./-]+", title)}
    return {
        (f"{name}.conf" if text.startswith("server") else name): text
        for name, text in named.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_what_a_page_shows_has_no_errors_and_no_warnings(page):
    files = files_of(page)
    subject = from_texts(files)
    bad = [each for each in examine(subject) if each.severity is not Severity.HINT]
    assert bad == []
    assert [each.what for each in subject.not_looked if "uwsgi_params" not in each.what] == []


def test_the_pages_are_there():
    found = {kind for page in PAGES for kind in kinds(page)}
    assert {"uwsgi", "nginx", "unit", "manifest", "image", "gunicorn"} <= found


def kinds(page):
    return {source.kind for source in from_texts(files_of(page)).sources.values()}
