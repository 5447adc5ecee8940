"""An upstream that hangs does not take the other views with it, at default settings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bench.bulkhead.hanging import PHASES, Hanging
from bench.bulkhead.instances import WITH, instance, outage
from lab.measuring import load
from lab.processes import ToolMissing, Upstream, wait_until
from resilient_wsgi.shm import instance as shared
from resilient_wsgi.shm.snapshot import Snapshot

pytestmark = pytest.mark.servers

KINDS = ["uwsgi 4 x 1", "uwsgi 2 x 4", "gunicorn 2 x 4", "gunicorn 4 x 1"]


@contextlib.contextmanager
def running(kind, upstreams, **env):
    try:
        with instance(kind, WITH, upstreams, env) as made:
            yield made
    except ToolMissing as missing:
        pytest.skip(str(missing))
    finally:
        shared.sweep()


def good(answers, path, since):
    """Return how many of the later requests to a path were answered well within two seconds."""
    found = [a for a in answers if a.path.startswith(path) and a.begin >= since]
    return sum(a.good and a.end - a.begin < 2 for a in found), len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_other_views_are_served_callers_fail_fast_and_recover(kind):
    rates = [load.Rate("/call/x", 20), load.Rate("/other", 10)]
    with Upstream() as upstream, running(kind, {"x": upstream.url}) as (port, server):
        found = outage(port, upstream, rates, 6.0, before=2.0, after=4.0)
        well, count = good(
            [a for a in found.answers if a.begin < found.recover], "/other", found.hang + 2
        )
        assert well >= 0.99 * count
        assert found.refusal() < 0.2
        assert found.first_good() < 1.6
        well, count = good(found.answers, "/call", found.recover + 2)
        assert well >= 0.95 * count
        server.wait_for_log("limited 127.0.0.1:")
        assert server.log().count("limited 127.0.0.1:") == 1


@pytest.mark.parametrize("phase", PHASES)
def test_it_may_hang_in_any_phase_from_a_cold_start(phase):
    rates = [load.Rate("/call/x", 10), load.Rate("/other", 10)]
    with Hanging(phase) as upstream, running("uwsgi 4 x 1", {"x": upstream.url}) as (port, _):
        with load.Load(port, rates, patience=10, seconds=12) as traffic:
            begin = time.monotonic()
            time.sleep(11)
            traffic.stop()
        well, count = good(traffic.answers, "/other", begin + 7)
        assert count > 20
        assert well >= 0.97 * count


def test_a_payment_that_was_sent_is_not_ended_before_five_seconds():
    rates = [load.Rate("/call/x/POST", 10), load.Rate("/other", 5)]
    with Hanging("headers") as upstream, running("uwsgi 4 x 1", {"x": upstream.url}) as (port, _):
        with load.Load(port, rates, patience=12, seconds=9) as traffic:
            time.sleep(8)
            traffic.stop()
            ended = list(upstream.held)  # before the server stops, which ends the others
    assert len(ended) >= 2
    assert min(ended) > 4.9
    assert max(ended) < 8


def test_killed_and_stopped_workers_leave_nothing_behind():
    with (
        Hanging("headers") as upstream,
        running("uwsgi 4 x 1", {"x": upstream.url}) as (port, server),
    ):
        rates = [load.Rate("/call/x", 10), load.Rate("/other", 10)]
        with load.Load(port, rates, patience=10, seconds=14):
            for _ in range(6):
                time.sleep(1)
                os.kill(server.workers()[0], signal.SIGKILL)
            stopped = server.workers()[1]
            os.kill(stopped, signal.SIGSTOP)
            time.sleep(3)
            os.kill(stopped, signal.SIGCONT)
        with Snapshot.of_process(server.pid) as seen:
            assert wait_until(
                lambda: not any(n for r in seen.rows for n in seen._waits(r.index)[0]), 20
            )
        assert load.get(port, "/other").good


def test_an_operator_limits_an_upstream_and_lifts_that():
    def ask(*arguments):
        command = [sys.executable, "-m", "resilient_wsgi", *map(str, arguments), "--json"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with Upstream() as upstream, running("uwsgi 2 x 1", {"x": upstream.url}) as (port, server):
        name = f"127.0.0.1:{upstream.port}"
        assert load.get(port, "/call/x").good
        assert ask("limit", name, server.pid).returncode == 0
        load.get(port, "/call/x")  # a probe
        assert load.get(port, "/call/x").status == "503"
        limited = json.loads(ask("status", server.pid).stdout)["limited"]
        assert [(each["upstream"], each["by_operator"]) for each in limited] == [(name, True)]
        assert ask("limit", name, server.pid, "--lift").returncode == 0
        assert all(load.get(port, "/call/x").good for _ in range(5))
        assert ask("limit", name, server.pid, "--lift").returncode == 1


def test_a_healthy_upstream_may_use_the_whole_pool_and_more():
    rates = [load.Rate("/call/x", 60), load.Rate("/other", 120)]
    with Upstream() as upstream, running("uwsgi 4 x 1", {"x": upstream.url}) as (port, server):
        with load.Load(port, rates, patience=10, seconds=8) as traffic:
            time.sleep(8)
            traffic.stop()
        assert "resilient_wsgi.bulkhead" not in server.log()
        assert not [a for a in traffic.answers if a.status == "503"]


def test_report_mode_says_what_it_would_do_and_does_nothing():
    rates = [load.Rate("/call/x", 10)]
    env = {"RESILIENT_WSGI_BULKHEAD_MODE": "report"}
    with (
        Hanging("headers") as upstream,
        running("uwsgi 2 x 1", {"x": upstream.url}, **env) as (
            port,
            server,
        ),
    ):
        with load.Load(port, rates, patience=1, seconds=5) as traffic:
            time.sleep(5)
            traffic.stop()
        server.wait_for_log("would have limited")
        assert not [a for a in traffic.answers if a.status == "503"]
