"""Whether an instance is ready: asked over HTTP, asked from outside, while it drains, in a chain
reload.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from bench.readiness.cases import FOLDER, PROTECTION, instance
from lab.measuring import load, procfs
from lab.processes import wait_until
from resilient_wsgi.shm.finding import find
from resilient_wsgi.shm.snapshot import drain

pytestmark = pytest.mark.servers

OPTIONS = {
    "master": True, "disable-logging": True, "processes": 2, "lazy-apps": True,
    "pythonpath": str(FOLDER), "module": "readiness_checked_app", "listen": 64, **PROTECTION,
}  # fmt: skip


@pytest.fixture
def told(tmp_path):
    path = tmp_path / "told"
    path.touch()
    return path


@pytest.fixture
def running(told):
    env = {"TOLD": str(told), "RESILIENT_WSGI_READINESS_TOKEN": "secret"}
    with instance(OPTIONS, env=env, ready="^WSGI app 0") as made:
        yield made


def get(port, path, method="GET", **headers):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", method=method, headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def details(running):
    """What is told of each check to who has the token."""
    return json.loads(get(running.server.port, "/-/ready", **{"X-Readiness-Token": "secret"})[1])[
        "checks"
    ]


def probe(running, *arguments, module="ready"):
    """Run the exec probe as a process of its own; return its exit code and what it says."""
    code = (
        f"import argparse, sys; from resilient_wsgi.cli import {module} as verb;"
        "p = argparse.ArgumentParser(); verb.add_arguments(p); sys.exit(verb.run(p.parse_args()))"
    )
    command = [sys.executable, "-c", code, str(running.server.pid), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return done.returncode, done.stdout


def becomes(running, status):
    return wait_until(lambda: get(running.server.port, "/-/ready")[0] == status, 10)


def test_live_and_ready_are_answered_without_the_app(running):
    assert becomes(running, 200)
    assert get(running.server.port, "/-/live") == (200, b'{"status": "live"}')
    assert details(running) == {
        "app": "ok",
        "draining": "ok",
        "queue": "ok",
        "warm": "ok",
        "as told": "ok",
    }
    assert get(running.server.port, "/-/ready", "HEAD") == (200, b"")
    assert get(running.server.port, "/-/ready", "POST")[0] == 405
    assert get(running.server.port, "/")[1] == b"warm"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("no", "failed"),
        ("reason", "the cache is cold"),
        ("raise", "OSError: the disk is gone"),
        ("hang", "takes longer than 0.5 s"),
        ("nonsense", "returned 42"),
    ],
)
def test_a_check_that_is_not_well_is_not_ready_and_is_named_while_the_app_is_served(
    running, told, word, reason
):
    assert becomes(running, 200)
    told.write_text(word)
    assert wait_until(lambda: reason in details(running)["as told"], 10)
    assert becomes(running, 503)
    assert get(running.server.port, "/")[0] == 200
    assert wait_until(lambda: probe(running)[0] == 1, 10)
    assert f"as told: {reason}" in probe(running)[1]


def test_others_do_not_see_the_details(running):
    assert becomes(running, 200)
    for headers in ({}, {"X-Readiness-Token": "wrong"}, {"X-Forwarded-For": "127.0.0.1"}):
        assert get(running.server.port, "/-/ready", **headers) == (200, b'{"status": "ready"}')


def test_the_exec_probe_answers_while_the_queue_is_full_and_http_probes_wait(running):
    assert becomes(running, 200)
    assert probe(running)[0] == 0
    clients = []
    try:
        for pid in running.server.workers():
            os.kill(pid, signal.SIGSTOP)  # nobody takes anything from the queue
        for _ in range(90):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", running.server.port))
            clients.append(client)
        assert load.get(running.server.port, "/-/ready", patience=1.0).status == load.NO_ANSWER
        assert probe(running)[0] == 0
        assert probe(running, "--live")[0] == 0
    finally:
        for client in clients:
            client.close()
        for pid in running.server.workers():
            os.kill(pid, signal.SIGCONT)


def test_the_exec_probe_says_which_worker_has_no_app():
    options = {**OPTIONS, "module": "readiness_app"}
    with instance(
        options, fail_first="import", loads=1, env={"RESILIENT_WSGI_READINESS_FIRST_PAUSE": "20"}
    ) as running:
        running.server.wait_for_log("has no app")
        assert wait_until(lambda: probe(running)[0] == 0, 10)
        wait_until(lambda: "pausing" in probe(running)[1], 10)
        code, text = probe(running, "--workers", "2", "--json")
        states = {each["state"]: each["why"] for each in json.loads(text)["workers"]}
        assert code == 1
        assert states["serving"] == ""
        assert "no_such_module" in states["pausing"]


def test_draining_says_not_ready_then_serves_the_queue_then_lets_the_workers_go(told):
    env = {"TOLD": str(told), "RESILIENT_WSGI_READINESS_DRAIN_DELAY": "1.5", "WORK": "0.2"}
    with instance({**OPTIONS, "die-on-term": True}, env=env, ready="^WSGI app 0") as running:
        assert becomes(running, 200)
        with load.Load(
            running.server.port, [load.Rate("/slow", 8)], patience=10.0, seconds=1.2
        ) as traffic:
            begin = time.monotonic()
            assert probe(running, module="drain") == (0, "drained\n")
            assert time.monotonic() - begin >= 1.5
        assert load.by_status(traffic.answers) == {"200": len(traffic.answers)}
        assert probe(running)[0] == 1
        assert running.server.stop(signal.SIGTERM) < 5.0


def test_readiness_is_refused_as_soon_as_draining_begins(running):
    assert becomes(running, 200)
    drain(find(running.server.pid), 1e18)  # just begun, for ever
    assert get(running.server.port, "/-/ready")[0] == 503
    assert get(running.server.port, "/")[0] == 200


def test_a_chain_reload_waits_for_each_worker_to_be_warm_and_no_cold_one_answers(tmp_path, told):
    touch = tmp_path / "chain"
    touch.touch()
    options = {**OPTIONS, "touch-chain-reload": str(touch), "worker-reload-mercy": 10}
    with instance(
        options, env={"TOLD": str(told), "WARM_SECONDS": "0.7"}, ready="^WSGI app 0"
    ) as running:
        assert becomes(running, 200)
        before = set(running.server.workers())
        with load.Load(running.server.port, [load.Rate("/", 40)], patience=10.0) as traffic:
            os.utime(touch, (time.time() + 5, time.time() + 5))
            running.server.wait_for_log("chain reloading complete", 30)
        assert set(running.server.workers()).isdisjoint(before)
        assert load.by_status(traffic.answers) == {"200": len(traffic.answers)}
        assert "chain is still waiting for worker" in running.server.log()


@pytest.mark.parametrize("heal", [True, False])
def test_a_peer_that_serves_without_an_app_is_reported_and_recycled_if_that_is_wanted(
    tmp_path, told, heal
):
    token = tmp_path / "off"
    token.touch()
    env = {
        "TOLD": str(told),
        "OFF_AND_FAIL": str(token),
        "RESILIENT_WSGI_READINESS_HEAL_PEERS": str(heal),
        "RESILIENT_WSGI_READINESS_PEER_STUCK_AFTER": "1",
    }
    with instance(OPTIONS, env=env, ready="^WSGI app 0") as running:
        said = running.server.wait_for_log(r"worker \d \(pid (\d+)\) serves without an app.*", 20)
        assert len(said) == 1
        if heal:
            assert running.full_strength()
            assert int(said[0][1]) not in running.server.workers()
        else:
            assert "HEAL_PEERS is off" in said[0][0]
            assert procfs.stat(int(said[0][1]))
