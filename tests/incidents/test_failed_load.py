from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_without_the_library_workers_that_failed_to_load_answer_500_for_ever(run_incident):
    run_incident("failed-load", protected=False)


def test_with_the_library_workers_that_failed_to_load_are_restarted_and_never_answer(run_incident):
    run_incident("failed-load", protected=True)
