"""Whoever reads the log at night: which call, to whom, from which line of the app, in which
request; what hangs just now.
"""

from __future__ import annotations

import http.client
import inspect
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import pytest
import requests
import urllib3

from bench.outbound.hostile import Hostile
from lab.processes import Server, wait_until
from resilient_wsgi import events
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, ledger, pending, report, sites, uninstall
from resilient_wsgi.request.middleware import DeadlineMiddleware
from resilient_wsgi.settings.options import Outbound
from resilient_wsgi.shm import instance

ROOT = Path(__file__).parents[2]
TOTAL = 0.2
SECRET = "bot4711AAFsomeSecretToken"


@pytest.fixture(autouse=True)
def _installed():
    install(Outbound(total_timeout=TOTAL))
    yield
    uninstall()


@pytest.fixture(scope="module")
def upstream():
    with Hostile(seconds=30) as server:
        yield server


def http_client(url):
    connection = http.client.HTTPConnection(url.split("/")[2])
    try:
        connection.request("PUT", "/" + url.split("/", 3)[3], body=b"x")
        connection.getresponse()
    finally:
        connection.close()


def urllib_request(url):
    urllib.request.urlopen(urllib.request.Request(url, method="PUT")).read()


def urllib3_manager(url):
    with urllib3.PoolManager(retries=False) as manager:
        manager.request("PUT", url)


def urllib3_pool(url):
    host, port = url.split("/")[2].split(":")
    with urllib3.HTTPConnectionPool(host, int(port), retries=False) as pool:
        pool.request("PUT", "/" + url.split("/", 3)[3])


def requests_put(url):
    requests.put(url)


def httpx_put(url):
    with httpx.Client(timeout=None, verify=False) as client:
        client.put(url)


def in_request(call):
    def app(environ, start_response):
        call()
        return []

    DeadlineMiddleware(app, seconds=30)(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/pay", "QUERY_STRING": "a=b"}, None
    )


@pytest.mark.parametrize(
    "ask",
    [http_client, urllib_request, urllib3_manager, urllib3_pool, requests_put, httpx_put],
    ids=lambda f: f.__name__,
)
def test_the_event_and_the_line_name_the_call_the_app_s_line_and_the_request(upstream, seen, ask):
    with pytest.raises(DeadlineExceeded):
        in_request(lambda: ask(f"{upstream.url}/silent/{SECRET}/x?token=S3CRET"))
    (event,) = (e for e in seen if isinstance(e, events.OutboundTimedOut))
    first = inspect.getsourcelines(ask)[1]
    last = first + len(inspect.getsourcelines(ask)[0])
    path, _, line = event.caller.rpartition(":")
    assert (event.method, event.host, event.port, event.path) == (
        "PUT",
        "127.0.0.1",
        upstream.port,
        "/silent/*/x",
    )
    assert (path, event.function, event.request) == (__file__, ask.__name__, "GET /pay")
    assert first <= int(line) < last
    text = str(event)
    assert text.startswith(
        f"gave up on PUT 127.0.0.1:{upstream.port}/silent/*/x after 0.2 s (phase headers, limit "
        "0.2 s"
    )
    assert f"; caller {__file__}:{line} in {ask.__name__}; request GET /pay). Fix: " in text
    assert "S3CRET" not in text
    assert SECRET not in text


def test_the_line_comes_once_a_minute_for_each_line_of_the_app_with_a_count(
    upstream, seen, caplog, monkeypatch
):
    def call():
        with pytest.raises(requests.Timeout):
            requests.get(f"{upstream.url}/silent")

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            call()
        assert len(caplog.records) == 1
        monkeypatch.setattr(report._given_up, "_interval", 0.0)
        call()
        with pytest.raises(requests.Timeout):
            requests.get(f"{upstream.url}/silent")
    lines = [record.getMessage() for record in caplog.records]
    assert ["; 3 times since last logged" in line for line in lines] == [False, True, False]
    assert len(seen) == 5  # subscribers see each of them


def test_what_was_ended_is_listed_by_the_app_s_line_in_enforce_mode_too(upstream):
    for _ in range(2):
        with pytest.raises(requests.Timeout):
            requests.get(f"{upstream.url}/silent")
    (site,) = sites()
    assert (site.count, site.host) == (2, "127.0.0.1")
    assert site.problem == "given up after 0.2 s (OUTBOUND.TOTAL_TIMEOUT)"
    assert site.site.startswith(f"{__file__}:")


def test_a_timeout_of_the_caller_s_own_is_no_news(upstream, seen, caplog):
    with pytest.raises(requests.Timeout):
        requests.get(f"{upstream.url}/silent", timeout=0.05)
    assert not seen
    assert not caplog.records
    assert sites() == []


def test_a_host_that_drives_terminals_is_escaped(caplog):
    event = events.OutboundTimedOut(
        "a\x1b[2J\r\nFAKE", "dns", 1.0, 1.0, "setting", "x", path="/\u202e"
    )
    assert str(event).isprintable()


def test_waits_that_go_on_are_listed_and_those_that_are_over_are_not(tmp_path, monkeypatch):
    instance.leave()
    monkeypatch.setattr("resilient_wsgi.shm.folders._wanted", lambda _: [str(tmp_path)])
    monkeypatch.setattr(pending, "LISTED_AFTER", 0.0)
    waits = pending.Pending()
    slots = [
        waits.begin(pending.entry(f"app.py:{i}", "upstream")) for i in range(pending.SLOTS + 3)
    ]
    waits.end(slots[0])
    found = list(pending.read(instance.directory()))
    assert len(found) == pending.SLOTS - 1
    assert {site.problem for site in found} == {"still waits for an answer"}
    long = pending.entry("/very" * 300 + "/app.py:1", "\u20ac" * 300)
    assert waits.begin(long) == slots[0]
    assert any(site.site.endswith("/app.py:1") for site in pending.read(instance.directory()))
    waits._map.close()
    # of a process that is no more: the next one adds them to what was noticed
    for _ in range(2):
        found = list(ledger.read(os.getpid()))
        assert {site.problem for site in found} == {"waited for an answer when its worker ended"}
        assert sum(site.count for site in found) == pending.SLOTS
        pending.Pending()._map.close()
    assert len(pending._files(instance.directory())) == 1
    instance.leave()


def test_waits_of_a_killed_process_stay_until_they_are_noted(tmp_path, monkeypatch):
    instance.leave()
    monkeypatch.setattr("resilient_wsgi.shm.folders._wanted", lambda _: [str(tmp_path)])
    monkeypatch.setattr(pending, "LISTED_AFTER", 0.0)
    waits = pending.Pending()
    waits.begin(pending.entry("app.py:1", "upstream"))
    waits._map.close()
    directory = instance.directory()
    (name,) = pending._files(directory)
    with monkeypatch.context() as busy:  # another process writes to the journal
        busy.setattr("resilient_wsgi.outbound.site_journal.add", lambda _: False)
        pending._take_over(directory, [name])
    assert pending._files(directory) == [name]
    pending._take_over(directory, [name])
    assert pending._files(directory) == []
    assert [site.site for site in ledger.read(os.getpid())] == ["app.py:1"]
    instance.leave()


def test_where_there_is_no_directory_calls_go_on(monkeypatch, upstream):
    def refuse():
        raise OSError

    monkeypatch.setattr(instance, "directory", refuse)
    install(Outbound(mode="report"))
    pending._pending.clear()
    assert requests.get(f"{upstream.url}/ok").content == b"ok"


@pytest.mark.servers
@pytest.mark.parametrize("client", ["requests", "httpx"])
def test_a_call_that_hangs_is_listed_while_it_hangs_and_while_nothing_else_runs_in_its_worker(
    upstream, client
):
    options = {
        "master": True, "processes": 1, "pythonpath": str(ROOT),
        "module": "tests.servers.apps.outbound_app",
        "need-app": True, "env": "RESILIENT_WSGI_OUTBOUND_MODE=report",
    }  # fmt: skip
    command = [sys.executable, "-m", "resilient_wsgi", "report", "--json"]
    with Server(options) as server:
        sock = http.client.HTTPConnection("127.0.0.1", server.port)
        sock.request("GET", f"/{client}/127.0.0.1:{upstream.port}/silent")

        def listed():
            done = subprocess.run(
                [*command, str(server.pid)], capture_output=True, text=True, check=False
            )
            return done.returncode == 0 and json.loads(done.stdout)

        assert wait_until(listed, 20)
        (site,) = listed()
        sock.close()
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)  # as harakiri does
        assert wait_until(lambda: server.workers() not in ([], [worker]), 20)
        (killed,) = listed()
    assert killed["problem"] == "waited for an answer when its worker ended"
    assert killed["site"] == site["site"]
    assert site["problem"] == "still waits for an answer"
    assert site["host"] == "127.0.0.1"
    assert "outbound_app.py:" in site["site"]
    assert 1 < site["worst"] < 25
