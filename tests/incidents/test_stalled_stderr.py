from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_plain_a_log_that_nobody_reads_stops_every_worker_and_the_master(run_incident):
    run_incident("stalled-stderr", guarded=False)


def test_guarded_a_log_that_nobody_reads_stops_nobody(run_incident):
    run_incident("stalled-stderr", guarded=True)
