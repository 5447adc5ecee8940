"""Every log line of the library begins with a code, and `resilient-wsgi explain` knows it."""

from __future__ import annotations

import inspect
import json
import logging
import re
from pathlib import Path

import pytest

from resilient_wsgi import cli, events
from resilient_wsgi.events.explanations import EXPLANATIONS
from tools import troubleshooting_doc
from tools.events_doc import kinds

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "resilient_wsgi"
CALL = re.compile(
    r"_logger\.(?:warning|error|exception|critical|info)\(\s*(?!\"%s\", text|NOT_INSTALLED)(.{0,12})"
)


def test_every_event_has_a_code_of_its_own_and_an_explanation():
    codes = [kind.code for kind in kinds()]
    assert sorted(codes) == sorted(set(codes))
    assert set(codes) <= set(EXPLANATIONS)


def test_every_explanation_belongs_to_a_line():
    source = "".join(each.read_text() for each in PACKAGE.rglob("*.py"))
    of_events = {kind.code for kind in kinds()}
    assert [
        code for code in EXPLANATIONS if f"[{code}]" not in source and code not in of_events
    ] == []


def test_every_line_that_is_no_event_begins_with_a_code():
    lines = {
        (str(path.relative_to(PACKAGE)), found)
        for path in PACKAGE.rglob("*.py")
        for found in CALL.findall(path.read_text())
        if "cli" not in path.parts
    }
    assert lines  # the pattern still finds them
    without = [each for each in lines if not re.match(r"\"\[RW\d{3}\] ", each[1])]
    assert without == []


def test_the_line_of_an_event_begins_with_its_code(caplog):
    caplog.set_level(logging.DEBUG, "resilient_wsgi")
    events.emit(events.LinesDropped(2, 3, 40, 1.5))
    record = caplog.records[-1]
    assert record.getMessage().startswith("[RW401] 3 lines (40 bytes) dropped")
    assert record.msg == f"[RW401] {events.LinesDropped.template}"  # constant for its class
    assert record.resilient_wsgi["code"] == "RW401"


@pytest.mark.parametrize(
    "code", ["RW205", "[RW205]", "rw205", "2026-11-28 WARNING [RW205] worker 3 was killed in GET /"]
)
def test_explain_prints_what_a_code_means(code, capsys):
    assert cli.main(["explain", code]) == 0
    text = capsys.readouterr().out
    assert text.startswith("RW205: ")
    assert "What to do: " in text
    assert "docs/requests.md" in text


def test_explain_prints_json(capsys):
    assert cli.main(["explain", "RW101", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["code"] == "RW101"
    assert found["page"] == "outbound"


def test_explain_knows_the_rules_of_the_doctor(capsys):
    assert cli.main(["explain", "u45"]) == 0
    assert capsys.readouterr().out.startswith("# U45: listen is above net.core.somaxconn\n")
    assert cli.main(["explain", "U45", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == "rules/U45"
    assert cli.main(["explain", "X1"]) == 2


def test_explain_rejects_an_unknown_code(capsys):
    assert cli.main(["explain", "RW999"]) == 2
    assert "no code 'RW999'" in capsys.readouterr().err


@pytest.mark.parametrize("code", EXPLANATIONS)
def test_the_page_that_an_explanation_names_is_there(code):
    assert (ROOT / "docs" / f"{EXPLANATIONS[code].page}.md").is_file()


def test_the_page_of_troubleshooting_is_current():
    page = ROOT / "docs" / "troubleshooting.md"
    assert troubleshooting_doc.main(["--check", str(page)]) == 0
    assert inspect.getdoc(troubleshooting_doc)
    assert all(f"[{code}]" in page.read_text() for code in EXPLANATIONS)
