"""A rule without one of its conditions is noticed by its examples or its near cases."""

from __future__ import annotations

import pytest

from resilient_wsgi.doctor.model import RULES, in_order
from resilient_wsgi.doctor.rules import load
from tests.unit.doctor.mutating import mutants, notices

load()


@pytest.mark.parametrize("code", [rule.code for rule in in_order(RULES)])
def test_each_condition_of_a_rule_is_needed(code):
    rule = RULES[code]
    survivors = [what for what, check in mutants(rule) if not notices(rule, check)]
    assert survivors == [], "add a near case to tests/unit/doctor/cases/ that tells them apart"


def test_a_condition_that_nothing_needs_is_found():
    rule = RULES["U75"]

    def check(subject):
        for config in subject.uwsgi:
            option = config.last("catch-exceptions")
            if option and (config.on("catch-exceptions") or config.has("never-in-a-fixture")):
                yield from rule.check(subject)
                return

    assert not notices(rule, check)
