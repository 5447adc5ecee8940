from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_without_the_library_an_upstream_that_hangs_takes_the_whole_service_with_it(run_incident):
    run_incident("hung-upstream", protected=False)


def test_with_the_library_an_upstream_that_hangs_costs_only_the_views_that_call_it(run_incident):
    run_incident("hung-upstream", protected=True)
