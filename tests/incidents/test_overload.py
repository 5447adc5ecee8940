from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_with_the_library_an_overload_leaves_the_service_at_its_capacity(run_incident):
    run_incident("overload", protected=True, seconds=10.0)
