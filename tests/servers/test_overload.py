"""Overload on real servers, at default settings: no header, no number."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.measuring import load
from lab.processes import Server, wait_until
from resilient_wsgi.overload.seen import Seen
from resilient_wsgi.shm import instance
from resilient_wsgi.shm.snapshot import Snapshot
from tests.servers.requests_common import COMMON, HOOKS, ROOT, running, variables
from tests.servers.test_request_queue import APP, OnUnixSocket, WithGunicorn, path_of

pytestmark = pytest.mark.servers

WORK = "/sleep/0.05"  # 20 a second, for each worker
BEGAN = r"overloaded: requests that wait longer than .* after .* s there clients hang up"


class OnUnix:
    """A server whose clients are seen to hang up, and where to ask it."""

    def __init__(self, name, environment=(), workers=2):
        env = {**variables(environment), "PYTHONPATH": str(ROOT)}
        if name == "gunicorn":
            self._server = WithGunicorn(OnUnixSocket(APP, [f"--workers={workers}"], env=env))
        else:
            options = {**COMMON, **HOOKS, "processes": workers}
            self._server = Server(options, listen_on="http-unix", env=env)

    def __enter__(self):
        self.server = self._server.__enter__()
        self.path = path_of(self.server)
        load.burst(self.path, "/", 8, 10)
        return self

    def __exit__(self, *exc):
        self._server.__exit__(*exc)
        instance.sweep()

    def overload(self, per_second, patience, seconds):
        """Ask more often than it can answer; return what came of the last two seconds."""
        rate = load.Rate(WORK, per_second)
        with load.Load(self.path, [rate], patience, seconds) as traffic:
            time.sleep(seconds)
            traffic.end()
            end = time.monotonic()
        return [answer for answer in traffic.answers if end - 2 < answer.end <= end]


@pytest.mark.parametrize("name", ["uwsgi", "gunicorn"])
def test_an_overload_is_met_without_any_setting(name):
    with OnUnix(name) as served:
        last = served.overload(100, patience=1.0, seconds=8)
        counts = load.by_status(last)
        assert counts["200"] >= 40, counts  # of 80 that it can on a machine of its own
        assert counts["503"] >= 50, counts
        assert counts.get(load.NO_ANSWER, 0) <= 8, counts
        served.server.wait_for_log(BEGAN)
        time.sleep(1)
        assert load.get(served.path, WORK).good


def test_where_no_client_gives_up_nothing_is_shed_however_long_the_queue_is():
    with OnUnix("uwsgi") as served:
        answers = load.burst(served.path, WORK, 90, 30)  # the last one waits for over 2 s
        assert load.by_status(answers) == {"200": 90}


def half_closing(path, seconds):
    """Ask, end one's own side, and wait for the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(f"GET /sleep/{seconds} HTTP/1.0\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)
        client.settimeout(30)
        return client.recv(100).split()[1]


def test_clients_that_half_close_are_not_taken_for_gone():
    with OnUnix("uwsgi") as served, ThreadPoolExecutor(80) as pool:
        asked = [pool.submit(half_closing, served.path, 0.05) for _ in range(80)]
        assert {each.result() for each in asked} == {b"200"}


def test_clients_that_hang_up_on_purpose_have_nobody_shed():
    """A third of all hang up at once, and with each letter typed; the load is below capacity."""
    chance, patient = random.Random(1), []
    with OnUnix("uwsgi") as served, ThreadPoolExecutor(40) as pool:
        end = time.monotonic() + 8
        while time.monotonic() < end:
            if chance.random() < 0.4:
                pool.submit(load.get, served.path, WORK, chance.choice((0.001, 0.08)))
            else:
                patient.append(pool.submit(load.get, served.path, WORK, 20))
            time.sleep(chance.expovariate(30))
        assert load.by_status([each.result() for each in patient]) == {"200": len(patient)}


def test_in_a_dry_run_it_is_only_told():
    with OnUnix("uwsgi", {"OVERLOAD.MODE": "report"}) as served:
        last = served.overload(100, patience=1.0, seconds=6)
        assert "503" not in load.by_status(last)
        served.server.wait_for_log(r"would be \(dry run\) answered 503")


def test_a_worker_that_replaces_a_killed_one_sheds_at_once():
    with OnUnix("uwsgi", workers=3) as served:

        def kill():
            for _ in range(3):
                time.sleep(2)
                os.kill(served.server.workers()[0], signal.SIGKILL)

        killing = threading.Thread(target=kill)
        killing.start()
        last = served.overload(150, patience=1.0, seconds=9)
        killing.join()
        counts = load.by_status(last)
        assert counts["200"] >= 60, counts  # of 120
        assert counts["503"] >= 60, counts
        assert counts.get(load.NO_ANSWER, 0) <= 20, counts


def seen(pid):
    """Return what an instance knows of its listen queue."""
    with Snapshot.of_process(pid) as snapshot:
        return Seen.of(snapshot, 0, time.monotonic())


def test_what_was_learned_outlives_a_reload():
    with OnUnix("uwsgi") as served:
        served.overload(100, patience=1.0, seconds=6)
        before = seen(served.server.pid)
        assert before.tolerated > 0.5
        assert before.shed_ever > 50
        old = set(served.server.workers())
        served.server.signal(signal.SIGHUP, when_heeded=True)
        assert wait_until(lambda: not old.intersection(served.server.workers()), 20)
        served.server.wait_for_log("spawned uWSGI worker 2", count=2)
        assert load.get(served.path, WORK).good
        after = seen(served.server.pid)
        assert after.tolerated == pytest.approx(before.tolerated, rel=0.1)
        assert after.picked_up > before.picked_up


def test_after_a_stall_of_all_workers_the_service_is_back():
    with OnUnix("uwsgi") as served:
        rate = load.Rate(WORK, 30)
        with load.Load(served.path, [rate], 2.0, 12) as traffic:
            time.sleep(2)
            stopped = served.server.workers()
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(3)
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            time.sleep(5)
            begin = time.monotonic()
            time.sleep(1.5)
            traffic.end()
        late = [answer for answer in traffic.answers if answer.begin >= begin]
        assert all(answer.good for answer in late), load.summary(late)


def test_nothing_can_be_learned_on_plain_http_over_tcp_and_nothing_is_shed():
    with running({**HOOKS, "processes": 2}) as server:
        with load.Load(server.port, [load.Rate(WORK, 100)], 1.0, 5) as traffic:
            time.sleep(5)
            traffic.end()
        assert "503" not in load.by_status(traffic.answers)
