from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_plain_the_queue_overflows_at_the_default_and_unix_sockets_do_so_in_silence(run_incident):
    run_incident("small-backlog", guarded=False)


def test_guarded_the_operator_is_told_at_start_and_sees_the_true_depth(run_incident):
    run_incident("small-backlog", guarded=True)
