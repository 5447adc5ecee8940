from __future__ import annotations

import pytest

pytestmark = pytest.mark.servers


def test_without_the_library_a_background_thread_holds_up_reload_and_stop_until_mercy_ends(
    run_incident,
):
    run_incident("reload-with-threads", protected=False)


def test_with_the_library_reload_and_stop_do_not_wait_for_mercy_whatever_threads_do(run_incident):
    run_incident("reload-with-threads", protected=True)
