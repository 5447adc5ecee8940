from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_plain_workers_that_failed_to_load_answer_500_for_ever(run_incident):
    run_incident("failed-load", guarded=False)


def test_guarded_workers_that_failed_to_load_are_started_anew_and_never_answer(run_incident):
    run_incident("failed-load", guarded=True)
