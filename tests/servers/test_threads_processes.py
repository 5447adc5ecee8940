"""A real Celery worker and Django's runserver with a thread that has no end: told to stop, they do
what they must and end.
"""

from __future__ import annotations

import signal

import pytest

from bench.threads.exits import gone
from bench.threads.processes import WITHOUT, celery, change, runserver
from lab.measuring import procfs
from lab.processes import wait_until

PATIENCE = 20.0  # the thread without an end sleeps for 60 s


def noted(program, word, count=1):
    return [int(match[1]) for match in program.wait_for_log(rf"^{word} in (\d+)$", count=count)]


@pytest.mark.parametrize(
    ("pool", "number", "code"), [("prefork", signal.SIGTERM, 0), ("threads", signal.SIGINT, 1)]
)
def test_a_celery_worker_finishes_its_task_tells_its_threads_and_ends(tmp_path, pool, number, code):
    with celery(tmp_path, pool) as worker:
        (working,) = noted(worker, "the task began")
        assert (working == worker.pid) == (pool != "prefork")
        assert noted(worker, "the thread began") == [working]
        worker.stop(number, patience=PATIENCE)
        assert worker.returncode == code
        log = worker.log()
    assert log.index(f"the task is done in {working}") < log.index(
        f"the thread was told in {working}"
    )
    assert "thread 'stubborn' did not stop" in log
    assert f"atexit in {worker.pid}" in log
    assert "never in" not in log  # it is for the second child, and there is one


def test_runserver_in_one_process_ends_at_ctrl_c_and_tells_and_names_its_threads(tmp_path):
    with runserver(tmp_path, "--noreload") as server:
        assert noted(server, "the thread began") == [server.pid]
        server.signal_group(signal.SIGINT)
        assert wait_until(lambda: not server.alive(), PATIENCE)
        assert server.returncode == 0
        assert noted(server, "the thread was told") == noted(server, "atexit") == [server.pid]
        assert "thread 'stubborn' did not stop" in server.log()


def test_runserver_reloads_a_changed_file_and_ctrl_c_ends_both_processes(tmp_path):
    with runserver(tmp_path) as server:
        (first,) = noted(server, "the thread began")
        assert procfs.children(server.pid) == [first]  # the process that only watches runs nothing
        assert wait_until(lambda: change(tmp_path, first), PATIENCE)
        _, second = noted(server, "the thread began", count=2)
        assert noted(server, "the thread was told") == [first]
        assert procfs.children(server.pid) == [second]
        server.signal_group(signal.SIGINT)
        assert wait_until(lambda: not server.alive() and gone(second), PATIENCE)
        assert f"the thread was told in {second}" in server.log()


def test_runserver_without_the_library_does_not_end_at_ctrl_c(tmp_path):
    with runserver(tmp_path, "--noreload", kind=WITHOUT) as server:
        server.signal_group(signal.SIGINT)
        assert not wait_until(lambda: not server.alive(), 2.0)
