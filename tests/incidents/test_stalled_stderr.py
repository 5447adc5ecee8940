from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_without_the_library_a_log_that_nobody_reads_stops_every_worker_and_the_master(
    run_incident,
):
    run_incident("stalled-stderr", protected=False)


def test_with_the_library_a_log_that_nobody_reads_stops_no_worker(run_incident):
    run_incident("stalled-stderr", protected=True)
