from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_plain_a_partner_that_hangs_takes_the_whole_service_with_it(run_incident):
    run_incident("hung-upstream", guarded=False)


def test_guarded_a_partner_that_hangs_costs_only_the_views_that_call_it(run_incident):
    run_incident("hung-upstream", guarded=True)
