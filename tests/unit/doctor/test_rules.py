"""Each rule finds its bad example, at a line of it, and is silent about its good one."""

from __future__ import annotations

import pytest

from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.model import RULES, Severity, in_order
from resilient_wsgi.doctor.rules import load
from tests.unit.doctor.completing import completed, near_cases

load()
CASES = near_cases()
each_rule = pytest.mark.parametrize("code", [rule.code for rule in in_order(RULES)])


def alone(code, subject):
    """Return what one rule finds; U00 is about the findings of others, which have to run for it."""
    rules = None if code == "U00" else [RULES[code]]
    return [each for each in examine(subject, rules) if each.code == code]


@each_rule
def test_a_bad_example_is_found_at_one_of_its_lines(code):
    rule = RULES[code]
    subject = from_texts(rule.bad)
    assert not subject.not_looked
    found = alone(code, subject)
    assert found, "the rule does not find its own bad example"
    for each in found:
        assert each.location.file in {*rule.bad, ""}
        if each.location.file:
            assert (
                rule.bad[each.location.file].split("\n")[each.location.line - 1]
                == each.location.text
            )


@each_rule
def test_a_good_example_has_no_error_and_no_warning_of_any_rule(code):
    rule = RULES[code]
    found = examine(from_texts(completed(rule.good)))
    assert code not in {each.code for each in found}
    assert [each for each in found if each.severity is not Severity.HINT] == []


@each_rule
def test_a_rule_says_what_why_and_how_to_fix_it_and_where_that_is_from(code):
    rule = RULES[code]
    assert rule.title
    assert not rule.title.endswith(".")
    assert rule.why.endswith((".", "`"))
    assert rule.fix.endswith((".", "`"))
    assert rule.sources
    assert rule.bad


@pytest.mark.parametrize(
    ("code", "files", "fires"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)]
)
def test_near_cases(code, files, fires):
    found = [each.severity.value for each in alone(code, from_texts(files))]
    assert (set(found) == {fires}) if isinstance(fires, str) else (bool(found) is fires)
