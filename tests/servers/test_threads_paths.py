"""Ways to end a uWSGI worker, by kinds of threads: a few of the table that bench/threads/exits.py
prints in full.
"""

from __future__ import annotations

import pytest

from bench.threads.exits import Cell, run

pytestmark = pytest.mark.servers

# far from what a protected worker takes, so that a busy machine is no failure and nobody but us can
# have ended it in time
MERCY = 60
PATIENCE = 20.0


@pytest.mark.parametrize(
    ("kind", "path", "lazy", "threads"),
    [
        ("sleep loop", "lifetime", True, 1),  # the three that have no mercy
        ("busy loop", "FIFO q", False, 4),
        ("blocking recv", "SIGHUP to worker", True, 4),
        ("executor", "reload", True, 4),
        ("executor", "SIGINT", False, 1),
        ("Timer", "max-requests", False, 1),
        ("cooperative", "chain reload", True, 1),
        ("cooperative", "cheaper", False, 4),
        ("stale", "SIGTERM", False, 1),
        ("Timer", "lifetime", True, 4),
        ("GIL kept 3 s", "reload", False, 1),
    ],
)
def test_the_worker_ends_and_nothing_is_left_out(kind, path, lazy, threads):
    cell = run(Cell(kind, path, lazy, threads, protected=True), mercy=MERCY, patience=PATIENCE)
    assert cell.seconds is not None, cell.log
    assert [what for what in cell.wrong if not what.startswith("not gone")] == [], cell.log


@pytest.mark.parametrize(
    ("kind", "path"), [("sleep loop", "SIGHUP to worker"), ("stale", "FIFO q")]
)
def test_without_the_library_a_path_without_mercy_has_no_end(kind, path):
    cell = run(Cell(kind, path, lazy=False, threads=1, protected=False), patience=4.0)
    assert cell.seconds is None
