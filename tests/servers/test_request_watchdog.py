"""The watchdog on real servers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.measuring import load
from lab.processes import Gunicorn, ToolMissing, wait_until
from tests.servers.requests_common import APP, HOOKS, ROOT, body, get, running, stacks

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(
    "mode", [{}, {"lazy-apps": True}, HOOKS, {**HOOKS, "lazy-apps": True}], ids=" ".join
)
def test_each_worker_has_one_watchdog_and_the_master_none(mode):
    with running({**mode, "processes": 2}, {"TIMEOUT": 5}) as server:
        assert body(server, "/threads").count("watchdog") == 1
        assert body(server, "/threads").count("watchdog") == 1
        assert len(os.listdir(f"/proc/{server.pid}/task")) == 1


def test_there_is_no_watchdog_where_nothing_has_a_limit_or_a_share():
    with running(environment={"BULKHEAD.MODE": "off"}) as server:
        assert "watchdog" not in body(server, "/threads")


def test_a_request_next_to_fast_traffic_is_ended_in_time_and_its_siblings_are_unharmed():
    """harakiri would not: each request of a sibling that finishes disarms it for the whole worker."""
    with running({"threads": 2, "harakiri": 3}) as server:
        fast = [load.Rate("/", 4)]
        with load.Load(server.port, fast, seconds=10) as traffic:
            begin = time.monotonic()
            assert body(server, "/hang") == "interrupted"
            took = time.monotonic() - begin
        assert 1.4 < took < 2.9
        assert all(answer.good for answer in traffic.answers)
        server.wait_for_log("GET /hang has run for .* waiting for silent.example")
        server.wait_for_log("thread '[^']*', in GET /hang for")
        server.wait_for_log(r"  hang \(.*request_app.py:")
        server.wait_for_log("GET /hang has passed its deadline of 1.5 s; 1 wait ended")
        assert "HARAKIRI" not in server.log()


RECYCLING = {"TIMEOUT": 1.2, "OVERDUE_GRACE": 0.3, "RECYCLE_DRAIN": 8, "END_WAITS": "known"}


@contextlib.contextmanager
def gunicorn_running(environment, *arguments):
    env = {f"RESILIENT_WSGI_REQUEST_{name}": str(value) for name, value in environment.items()}
    try:
        made = Gunicorn(APP, ["--timeout=30", *arguments], env={**env, "PYTHONPATH": str(ROOT)})
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with made as server:
        yield server


@pytest.mark.parametrize("kind", ["uwsgi", "gunicorn"])
def test_under_load_a_worker_is_replaced_without_the_loss_of_a_single_request(kind):
    """Those that run beside the stuck one, those that come meanwhile, and long ones that are half
    done when it begins.
    """
    servers = {
        "uwsgi": lambda: running({"processes": 2, "threads": 4}, RECYCLING),
        "gunicorn": lambda: gunicorn_running(RECYCLING, "--workers=2", "--threads=4"),
    }
    rates = [load.Rate("/sleep/0.05", 20), load.Rate("/sleep/1.1", 4)]
    with servers[kind]() as server, ThreadPoolExecutor(1) as pool:
        load.burst(server.port, "/", 16, 10)
        before = set(server.workers())
        with load.Load(server.port, rates, patience=15, seconds=30) as traffic:
            stuck = pool.submit(get, server, "/recv")
            server.wait_for_log("is draining and will be replaced: GET /recv")
            replaced = wait_until(lambda: len(before - set(server.workers())) == 1, 10)
            time.sleep(0.5)
        assert replaced
        assert not stuck.result().good
        assert len(traffic.answers) > 40
        assert load.by_status(traffic.answers) == {"200": len(traffic.answers)}
        assert server.log().count("will be replaced") == 1
        assert "was killed in" not in server.log()
        assert wait_until(lambda: len(server.workers()) == 2, 10)


def test_workers_are_replaced_at_a_bounded_rate_for_the_whole_instance():
    environment = {
        "TIMEOUT": 0.3,
        "OVERDUE_GRACE": 0.2,
        "RECYCLES_PER_MINUTE": 1,
        "END_WAITS": "known",
    }
    with (
        running({"processes": 3, "lazy-apps": True}, environment) as server,
        ThreadPoolExecutor(3) as pool,
    ):
        before = set(server.workers())
        asked = [pool.submit(get, server, "/recv", 3.0) for _ in range(3)]
        server.wait_for_log("stays, because enough workers were replaced in this minute", count=2)
        assert wait_until(lambda: len(set(server.workers()) - before) == 1, 5)
        assert [answer.result().good for answer in asked] == [False] * 3
        assert len(set(server.workers()) & before) == 2


@pytest.mark.parametrize("kind", ["uwsgi", "gunicorn"])
def test_a_soft_timeout_answers_503_and_the_worker_lives(kind):
    soft = {"TIMEOUT": 0.5, "SOFT_TIMEOUT": True}
    with running({}, soft) if kind == "uwsgi" else gunicorn_running(soft) as server:
        pid = body(server, "/pid")
        for _ in range(2):
            assert get(server, "/recv").status == "503"
        assert body(server, "/pid") == pid
        server.wait_for_log("RequestTimedOut is raised in it", count=2)


def test_a_soft_timeout_does_not_hit_a_server_that_waits_for_its_client():
    """gunicorn's own code sends the pieces of a response; its client takes none of them until long
    after the deadline.
    """
    with gunicorn_running(
        {"TIMEOUT": 0.5, "SOFT_TIMEOUT": True, "RECYCLES_PER_MINUTE": 0}
    ) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /pieces/40 HTTP/1.0\r\n\r\n")
            server.wait_for_log("GET /pieces/40 has passed its deadline")
            time.sleep(0.6)
            received = sum(len(data) for data in iter(lambda: client.recv(1 << 20), b""))
        assert received > 40 * 1_000_000
        assert "Traceback" not in server.log()


def test_a_soft_timeout_is_not_done_where_a_worker_has_threads():
    with running({"threads": 2}, {"TIMEOUT": 0.5, "SOFT_TIMEOUT": True}) as server:
        assert body(server, "/sleep/1") == "slept"


def test_a_worker_whose_gil_is_held_writes_its_stacks_and_ends():
    with running(HOOKS, {"TIMEOUT": 30, "GIL_TIMEOUT": 1}) as server:
        pid = body(server, "/pid")
        assert body(server, "/sleep/1.5") == "slept"
        assert not get(server, "/hold-the-gil").good
        server.wait_for_log(r"was killed in GET /hold-the-gil(?s:.)*in hold_the_gil")
        assert body(server, "/pid") != pid


def test_a_killed_worker_is_told_of_by_the_next_one():
    with (
        running({**HOOKS, "processes": 2}, {"TIMEOUT": 30}) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(get, server, "/hang")
        pid = next(p for p in iter(lambda: worker_in(server, "GET /hang"), None) if p)
        time.sleep(0.6)
        os.kill(pid, signal.SIGKILL)
        asked.result()
        (line,) = server.wait_for_log(r"worker \d \(pid (\d+)\) was killed in (.*)")
        assert int(line.group(1)) == pid
        assert re.match(
            r"GET /hang after (0.[3-9]|1).* s, waiting for silent.example \(headers\)",
            line.group(2),
        )


def test_harakiri_is_told_of_and_an_orderly_end_is_not():
    with running(
        {**HOOKS, "harakiri": 2}, {"RECYCLES_PER_MINUTE": 0, "END_WAITS": "known"}
    ) as server:
        get(server, "/recv")
        server.wait_for_log(r"was killed in GET /recv after \d")
        before = server.log().count("was killed in")
        server.signal(signal.SIGHUP)
        server.wait_for_log("Gracefully killing worker|gracefully")
        assert body(server, "/") == "hello"
        assert server.log().count("was killed in") == before


def worker_in(server, what):
    for part in stacks(server.pid)[0].split("=== ")[1:]:
        if what in part:
            return int(part.split()[0])
    return 0


def test_gunicorn_with_threads_has_a_watchdog_too():
    with gunicorn_running({"TIMEOUT": 0.5}, "--threads=2") as server:
        assert body(server, "/hang") == "interrupted"
