"""What differs between servers: hooks that run once in each process, and the true depth of listen
queues.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import types

import pytest

from resilient_wsgi.core.system import System
from resilient_wsgi.host import listen_queue
from resilient_wsgi.servers import celery, runserver
from resilient_wsgi.servers.base import Server
from resilient_wsgi.servers.hooks import Phase
from resilient_wsgi.servers.uwsgi import hooks as uwsgi_hooks


class Forked(System):
    """A process id that a test can change, as a fork does."""

    pid = 1

    def getpid(self):
        return self.pid


@pytest.fixture
def system():
    return Forked()


def test_a_callback_runs_once_in_each_process(system):
    ran = []
    phase = Phase("start", system=system)
    phase.add(lambda: ran.append(system.pid))
    phase.reach()
    phase.reach()
    system.pid = 2
    assert not phase.reached
    phase.reach()
    assert ran == [1, 2]


def test_a_callback_that_comes_late_runs_at_once(system):
    ran = []
    phase = Phase("start", system=system)
    phase.reach()
    phase.add(lambda: ran.append(1))
    assert ran == [1]


def test_a_callback_that_raises_does_not_keep_the_others_from_running(system, caplog):
    ran = []
    phase = Phase("stop", latest_first=True, system=system)
    phase.add(lambda: ran.append("first"))
    phase.add(lambda: 1 / 0)
    phase.add(lambda: ran.append("last"))
    phase.reach()
    assert ran == ["last", "first"]
    assert "ZeroDivisionError" in caplog.text


def test_ready_implies_start_and_is_done_once(system):
    ran = []
    server = Server(system)
    server.on_worker_ready(lambda: ran.append("ready"))
    server.on_worker_start(lambda: ran.append("start"))
    server.ready()
    server.ready()
    assert ran == ["start", "ready"]


def test_a_callback_that_is_forgotten_does_not_run(system):
    ran = []
    server = Server(system)
    callback = lambda: ran.append(1)  # noqa: E731
    server.on_worker_stop(callback)
    server.forget(callback)
    server.stopping()
    assert ran == []


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setattr(uwsgi_hooks, "_links", {})
    return types.ModuleType("like_uwsgi")


def test_what_was_in_the_hook_before_is_called_too(module):
    ran = []
    module.atexit = lambda: ran.append("theirs")
    uwsgi_hooks.chain(module, "atexit", lambda: ran.append("ours"))
    module.atexit()
    assert ran == ["ours", "theirs"]


def test_somebody_who_overwrites_the_hook_is_added_to_it(module):
    ran = []
    uwsgi_hooks.chain(module, "post_fork_hook", lambda: ran.append("ours"))
    module.post_fork_hook = lambda: ran.append("theirs")
    module.something_else = 7
    # uWSGI itself looks into the dictionary of the module
    module.__dict__["post_fork_hook"]()
    assert ran == ["ours", "theirs"]
    assert module.something_else == 7


def test_somebody_who_chains_by_hand_does_not_call_us_twice(module):
    ran = []
    uwsgi_hooks.chain(module, "atexit", lambda: ran.append("ours"))
    found = module.atexit

    def theirs():
        ran.append("theirs")
        found()

    module.atexit = theirs
    module.atexit()
    module.atexit()
    assert ran == ["ours", "theirs"] * 2


@pytest.fixture(params=["tcp", "tcp6", "unix"])
def listening(request, tmp_path):
    if request.param == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "s"))
    else:
        family, host = (
            (socket.AF_INET, "127.0.0.1") if request.param == "tcp" else (socket.AF_INET6, "::1")
        )
        sock = socket.socket(family)
        try:
            sock.bind((host, 0))
        except OSError:
            sock.close()
            pytest.skip("IPv6 not found")
    sock.listen(7)
    with sock:
        yield sock


def connect(listening, count):
    clients = [socket.socket(listening.family) for _ in range(count)]
    for client in clients:
        client.connect(listening.getsockname())
    return clients


def test_the_true_depth_and_limit_of_a_listen_queue_are_seen(listening):
    clients = connect(listening, 5)
    queue = listen_queue.of_descriptor(listening.fileno())
    for client in clients:
        client.close()
    assert (queue.depth, queue.limit) == (5, 7)
    assert (
        str(listening.getsockname()[1 if listening.family != socket.AF_UNIX else slice(None)])
        in queue.name
    )


def test_the_queues_of_another_process_are_seen_from_outside(listening):
    clients = connect(listening, 3)
    seen = {queue.name: queue for queue in listen_queue.of_process(os.getpid())}
    for client in clients:
        client.close()
    assert (3, 7) in [(queue.depth, queue.limit) for queue in seen.values()]


def test_a_default_timeout_of_the_app_does_not_change_the_descriptor(listening):
    socket.setdefaulttimeout(3)
    try:
        listen_queue.of_descriptor(listening.fileno())
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(listening.fileno())


def test_a_descriptor_that_does_not_listen_is_a_clear_error():
    left, right = socket.socketpair()
    with left, right, pytest.raises(OSError, match="does not listen"):
        listen_queue.of_descriptor(left.fileno())


def test_a_process_that_is_not_there_is_a_clear_error():
    with pytest.raises(ProcessLookupError, match="no process 4194305"):
        listen_queue.of_process(4194305)


def test_the_families_of_listening_sockets_are_told_apart(listening):
    assert listen_queue.families([listening.fileno()]) == {listening.family}
    assert listen_queue.families([]) == set()


def test_with_one_whose_family_is_not_known_none_is(listening):
    left, right = socket.socketpair()
    with left, right:
        assert listen_queue.families([listening.fileno(), left.fileno()]) == set()
    assert listen_queue.families([left.fileno()]) == set()


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


@pytest.mark.parametrize(
    ("arguments", "environment", "role"),
    [
        (["runserver"], {}, "master"),  # it only watches over the one that serves
        (["runserver"], {"RUN_MAIN": "true"}, "process"),
        (["runserver", "--noreload"], {}, "process"),
    ],
)
def test_of_the_two_processes_of_runserver_one_starts(monkeypatch, arguments, environment, role):
    monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
    monkeypatch.delenv("RUN_MAIN", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "django", types.ModuleType("django"))
    assert runserver.running()
    monkeypatch.setattr(threading, "_register_atexit", lambda *_: None)
    ran = []
    server = runserver.RunserverServer()
    server.on_child_start(lambda: ran.append(1))
    assert server.identity().role == role
    assert bool(ran) == (role == "process")
