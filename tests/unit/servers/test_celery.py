"""Which processes of Celery are workers."""

from __future__ import annotations

import sys
import threading
import types

import pytest

from resilient_wsgi.servers import celery


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/srv/venv/bin/celery -A shop worker -P solo", True),
        ("/srv/venv/lib/celery/__main__.py -A shop worker", True),
        ("/srv/venv/bin/celery -A shop beat", False),
        ("/srv/shop/worker.py", False),
        ("manage.py worker", False),
    ],
)
def test_a_celery_worker_is_known_by_its_command_line(monkeypatch, line, expected):
    monkeypatch.setitem(sys.modules, "celery", types.ModuleType("celery"))
    monkeypatch.setattr(sys, "argv", line.split())
    assert celery.running() == expected
    monkeypatch.delitem(sys.modules, "celery")
    assert not celery.running()


@pytest.mark.parametrize(
    ("process", "task", "role", "number"),
    [
        (types.SimpleNamespace(name="MainProcess"), None, "master", 0),  # the pool is not known yet
        (types.SimpleNamespace(name="MainProcess"), "a task", "worker", 1),
        (types.SimpleNamespace(name="ForkPoolWorker-3", index=2), None, "worker", 3),
    ],
)
def test_a_celery_worker_that_imports_the_library_late_knows_that_it_works(
    monkeypatch, process, task, role, number
):
    signal = types.SimpleNamespace(connect=lambda *_, **__: None)
    names = ("worker_init", "worker_process_init", "worker_process_shutdown", "worker_shutdown")
    for name, module in (
        ("billiard", types.SimpleNamespace(current_process=lambda: process)),
        (
            "celery",
            types.SimpleNamespace(
                current_task=task, signals=types.SimpleNamespace(**dict.fromkeys(names, signal))
            ),
        ),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(threading, "_register_atexit", lambda *_: None)
    identity = celery.CeleryServer().identity()
    assert (identity.role, identity.number) == (role, number)
