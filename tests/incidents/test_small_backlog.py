from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_without_the_library_the_queue_overflows_at_the_default_and_unix_sockets_do_so_in_silence(
    run_incident,
):
    run_incident("small-backlog", protected=False)


def test_with_the_library_the_operator_is_warned_at_startup_and_sees_the_true_depth(run_incident):
    run_incident("small-backlog", protected=True)
