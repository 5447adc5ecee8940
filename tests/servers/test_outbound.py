"""An upstream that hangs, under a real uWSGI with harakiri: the view gets its exception in time to
answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGHUP

import pytest

from bench.outbound.hostile import Hostile
from lab.processes import Server, wait_until

ROOT = Path(__file__).parents[2]
HARAKIRI = 5
CLIENTS = ("http.client", "urllib.request", "urllib3", "requests", "httpx")


@pytest.fixture(scope="module")
def upstream():
    with Hostile(seconds=60) as hostile:
        yield hostile


@pytest.fixture(scope="module", params=[1, 8], ids=lambda n: f"threads={n}")
def server(request):
    options = {"threads": request.param} if request.param > 1 else {}
    with Server(
        {
            "master": True, "processes": 1, "pythonpath": str(ROOT),
            "module": "tests.servers.apps.outbound_app",
            "harakiri": HARAKIRI, "need-app": True, **options,
        }
    ) as made:  # fmt: skip
        made.threads = request.param
        yield made


@pytest.mark.parametrize("behaviour", ["silent", "drip_headers"])
def test_no_view_is_killed_for_an_upstream_that_hangs(server, upstream, get, behaviour):
    paths = [f"/{client}/127.0.0.1:{upstream.port}/{behaviour}" for client in CLIENTS]
    # each process or thread serves one at a time, and what waits in the listen queue is not on the
    # clock
    with ThreadPoolExecutor(len(paths) if server.threads > 1 else 1) as pool:
        answers = list(
            pool.map(
                lambda path: get(server.port, path).decode(),
                paths if server.threads > 1 else paths[:3],
            )
        )
    for answer in answers:
        assert float(answer.split()[0]) < HARAKIRI - 1
        assert "in phase headers" in answer
        assert "request deadline of GET /" in answer
    assert get(server.port) == b"ok"
    assert "HARAKIRI" not in server.log()


def test_views_that_do_not_ask_the_upstream_go_on_answering(server, upstream, get):
    if server.threads == 1:
        pytest.skip("with one thread there is one request at a time")
    with ThreadPoolExecutor(4) as pool:
        slow = [
            pool.submit(get, server.port, f"/requests/127.0.0.1:{upstream.port}/silent")
            for _ in range(4)
        ]
        began = time.monotonic()
        for _ in range(20):
            assert get(server.port) == b"ok"
        assert time.monotonic() - began < 2
        assert all("gave up on 127.0.0.1" in answer.result().decode() for answer in slow)


def test_no_asynchronous_view_is_killed_for_an_upstream_that_hangs(upstream, get):
    pytest.importorskip("aiohttp")
    with Server(
        {
            "master": True, "processes": 1, "threads": 6, "pythonpath": str(ROOT),
            "module": "tests.servers.apps.async_views_app",
            "harakiri": HARAKIRI, "need-app": True,
        }
    ) as server, ThreadPoolExecutor(4) as pool:  # fmt: skip
        paths = [
            f"/{client}/127.0.0.1:{upstream.port}/{behaviour}"
            for client in ("httpx", "aiohttp")
            for behaviour in ("silent", "drip_body")
        ]
        for answer in pool.map(lambda path: get(server.port, path).decode(), paths):
            assert float(answer.split()[0]) < HARAKIRI - 1
            assert "request deadline of GET /" in answer
        assert get(server.port) == b"ok"
        assert "HARAKIRI" not in server.log()


def test_in_subinterpreters_too_calls_end_in_time(upstream, get):
    app = "tests.servers.apps.outbound_app:application"
    options = {
        "master": True, "processes": 1, "threads": 8, "pythonpath": str(ROOT),
        "mount": [f"/one={app}", f"/two={app}"],
        "manage-script-name": True, "harakiri": HARAKIRI, "need-app": True,
    }  # fmt: skip
    with Server(options) as server, ThreadPoolExecutor(8) as pool:
        paths = [
            f"/{mount}/{client}/localhost:{upstream.port}/silent"
            for mount in ("one", "two")
            for client in CLIENTS[2:]
        ]
        for answer in pool.map(lambda path: get(server.port, path).decode(), paths):
            assert "in phase headers" in answer
            assert "request deadline of GET /" in answer
        interpreters = set(re.findall(r"ready in \d+ seconds on interpreter (\w+)", server.log()))
    assert len(interpreters) == 2


def test_what_all_workers_notice_in_report_mode_can_be_read_from_outside(upstream, get):
    options = {
        "master": True, "processes": 2, "pythonpath": str(ROOT),
        "module": "tests.servers.apps.outbound_app",
        "need-app": True, "env": "RESILIENT_WSGI_OUTBOUND_MODE=report",
    }  # fmt: skip
    with Server(options) as server:
        path = f"/requests/127.0.0.1:{upstream.port}/ok"
        assert [get(server.port, path) for _ in range(20)] == [b"ok"] * 20
        first = set(server.workers())
        server.signal(SIGHUP)  # the workers go, and take nothing with them
        assert wait_until(lambda: len(set(server.workers()) - first) == 2, 10)
        assert [get(server.port, path) for _ in range(10)] == [b"ok"] * 10
        command = [sys.executable, "-m", "resilient_wsgi", "report", str(server.pid), "--json"]
        assert wait_until(
            lambda: json.loads(subprocess.check_output(command))[0]["count"] > 20, 10
        )  # 20 of those that have ended
        (site,) = json.loads(subprocess.check_output(command))
    assert site["problem"] == "without a timeout"
    assert site["site"].partition(":")[0].endswith("outbound_app.py")
