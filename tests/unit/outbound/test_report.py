"""Report mode: nothing is enforced, and what would have been is known by the line of the app, for
the whole instance.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request

import httpx
import pytest
import requests
import urllib3

import resilient_wsgi
from bench.outbound.hostile import Hostile
from resilient_wsgi import cli, events, servers
from resilient_wsgi.outbound import Site, install, ledger, report, sites
from resilient_wsgi.servers import Identity, Server
from resilient_wsgi.settings.options import Outbound
from resilient_wsgi.shm import instance

TOTAL = 0.3  # conftest.py


@pytest.fixture
def brief():
    """An upstream that goes on for three times the total, in which it is never silent for long."""
    with Hostile(seconds=TOTAL * 3) as hostile:
        yield hostile


@pytest.fixture
def folder(tmp_path, monkeypatch):
    instance.leave()
    monkeypatch.setattr("resilient_wsgi.shm.folders._wanted", lambda _: [str(tmp_path)])
    yield tmp_path
    instance.leave()


def by_http_client(url):
    connection = http.client.HTTPConnection(url.split("/")[2])
    connection.request("GET", "/" + url.split("/", 3)[3])
    with contextlib.closing(connection), connection.getresponse() as response:
        return response.read()


def by_urllib_request(url):
    with urllib.request.urlopen(url) as response:
        return response.read()


def by_requests(url):
    return requests.get(url).content


def by_urllib3(url):
    with urllib3.PoolManager(retries=False) as manager:
        return manager.request("GET", url).data


def by_httpx(url):
    with httpx.Client(timeout=None, verify=False) as client:
        return client.get(url).content


def beyond():
    """Return the one site that went beyond a limit; http.client's are also counted before the body,
    for no timeout at all.
    """
    (found,) = (noticed for noticed in sites() if noticed.problem != "without a timeout")
    return found


ALL = pytest.mark.parametrize(
    "ask", [by_http_client, by_urllib_request, by_requests, by_urllib3, by_httpx]
)


def test_in_report_mode_nothing_is_enforced_and_each_call_site_is_counted(brief, seen):
    install(Outbound(mode="report", connect_timeout=TOTAL, read_timeout=TOTAL, total_timeout=TOTAL))
    for _ in range(2):
        assert requests.get(f"{brief.url}/drip_body", timeout=5).content == b"x" * 30
    assert requests.get(f"{brief.url}/ok").content == b"ok"
    assert requests.get(f"{brief.url}/ok", timeout=5).content == b"ok"
    slow, careless = sites()
    assert (slow.count, slow.problem) == (2, "beyond 0.3 s (OUTBOUND.TOTAL_TIMEOUT)")
    assert slow.worst > TOTAL * 2
    assert slow.site.startswith(__file__)
    assert (careless.count, careless.problem) == (1, "without a timeout")
    assert [type(e) for e in seen] == [events.OutboundUnbounded] * 2


def test_the_status_of_the_installation_lists_the_call_sites(brief):
    settings = {
        **dict.fromkeys(
            ("STDERR", "THREADS", "READINESS", "REQUEST", "OVERLOAD", "BACKLOG"), "off"
        ),
        "OUTBOUND": "report",
    }
    installation = resilient_wsgi.install(settings)
    try:
        requests.get(f"{brief.url}/ok")
        status = next(s for s in installation.status() if s.name == "outbound")
        assert any(
            f"{__file__}:" in line and "without a timeout: 1 x" in line for line in status.means
        ), status
    finally:
        installation.uninstall()


def test_report_mode_also_sees_the_bodies_that_http_client_reads(brief):
    install(Outbound(mode="report", total_timeout=TOTAL))
    with urllib.request.urlopen(f"{brief.url}/ok", timeout=5) as response:
        response.read()
    assert sites() == []
    with urllib.request.urlopen(f"{brief.url}/drip_headers") as response:
        response.read()
    assert [site.problem for site in sites()] == ["beyond 0.3 s (OUTBOUND.TOTAL_TIMEOUT)"]


@ALL
def test_a_body_that_takes_longer_than_the_total_is_seen(brief, ask):
    install(Outbound(mode="report", connect_timeout=60, read_timeout=60, total_timeout=TOTAL))
    began = time.monotonic()
    assert ask(f"{brief.url}/drip_body") == b"x" * 30
    took = time.monotonic() - began
    site = beyond()
    assert site.problem == "beyond 0.3 s (OUTBOUND.TOTAL_TIMEOUT)"
    assert TOTAL * 2 < site.worst < took
    assert site.site.startswith(__file__)


@ALL
def test_a_silence_that_is_longer_than_the_limit_is_seen(ask):
    install(Outbound(mode="report", connect_timeout=60, read_timeout=0.1, total_timeout=60))
    with Hostile(seconds=6) as slow:  # a byte every 0.2 s
        assert ask(f"{slow.url}/drip_body") == b"x" * 30
    site = beyond()
    assert (site.count, site.problem) == (1, "beyond 0.1 s (OUTBOUND.READ_TIMEOUT)")
    assert 0.15 < site.worst < 2


@ALL
def test_connecting_for_longer_than_the_limit_is_seen(brief, ask, monkeypatch):
    resolve = socket.getaddrinfo

    def slow(*args, **kwargs):
        time.sleep(0.2)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    install(Outbound(mode="report", connect_timeout=0.1, read_timeout=60, total_timeout=60))
    assert ask(f"{brief.url}/ok") == b"ok"
    (site,) = sites()
    assert site.problem == "beyond 0.1 s (OUTBOUND.CONNECT_TIMEOUT)"


def test_a_wait_that_the_caller_has_limited_is_no_limit_of_ours(brief):
    install(Outbound(mode="report", connect_timeout=60, read_timeout=0.01, total_timeout=60))
    assert requests.get(f"{brief.url}/drip_body", timeout=5).content == b"x" * 30
    assert sites() == []


def test_what_is_read_of_a_stream_later_is_seen_as_a_silence_and_not_as_a_total(brief):
    install(Outbound(mode="report", connect_timeout=60, read_timeout=60, total_timeout=TOTAL))
    with requests.get(f"{brief.url}/drip_body", stream=True, timeout=(5, None)) as response:
        assert response.content == b"x" * 30
    assert sites() == []
    # the head comes within the limit, also on a machine that is busy; the body does not
    install(Outbound(mode="report", connect_timeout=60, read_timeout=1, total_timeout=60))
    with (
        Hostile(seconds=2) as late,
        httpx.Client(timeout=None, verify=False) as client,
        client.stream("GET", f"{late.url}/late_body") as stream,
    ):
        assert stream.read() == b"ok"
    assert {site.problem for site in sites()} == {
        "beyond 1 s (OUTBOUND.READ_TIMEOUT)",
        "with timeout=None",
    }


class Worker(Server):
    """One whose master is this test."""

    def identity(self):
        return Identity("worker", 1, os.getpid(), os.getpid(), 1)


def site(line, count=1, worst=1.0, problem="without a timeout"):
    return Site(f"app.py:{line}", "upstream", problem, count, worst)


def test_the_processes_of_an_instance_add_up(folder):
    assert ledger.add([site(1), site(2, count=5, worst=0.5)])
    assert ledger.add([site(1, count=9, worst=3.0), site(1, problem="with timeout=None")])
    assert ledger.read(os.getpid()) == [
        site(1, count=10, worst=3.0), site(2, count=5, worst=0.5),
        site(1, problem="with timeout=None"),
    ]  # fmt: skip


def test_a_file_whose_writer_was_killed_in_the_middle_is_started_again(folder):
    ledger.add([site(1)])
    (path,) = folder.glob("*/*")
    path.write_bytes(path.read_bytes()[:-5])
    assert ledger.add([site(2)])
    assert ledger.read(os.getpid()) == [site(2)]


def test_a_link_is_not_followed(folder):
    ledger.add([site(1)])
    (path,) = folder.glob("*/*")
    target = folder / "target"
    path.rename(target)
    path.symlink_to(target)
    for use in (lambda: ledger.add([site(2)]), lambda: ledger.read(os.getpid())):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            use()


def test_a_lock_that_somebody_holds_is_not_waited_for(folder):
    ledger.add([site(1)])
    (path,) = folder.glob("*/*")
    code = f"import fcntl, sys; f = open({str(path)!r}, 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    assert not ledger.add([site(2)])
    assert ledger.read(os.getpid()) == [site(1)]
    holder.communicate(b"\n")


def test_a_busy_file_is_left_for_the_next_time_and_nothing_is_lost(folder, monkeypatch):
    monkeypatch.setattr(report, "SAVING_AT_MOST", 1e-9)
    servers.use(Worker())
    try:
        with monkeypatch.context() as patched:
            patched.setattr(ledger, "add", lambda *_: False)
            report.note(site(1))
        report.note(site(1))
        assert not list(folder.iterdir())
        report.save()
        assert ledger.read(os.getpid()) == [site(1, count=2)]
        report.save()
        assert ledger.read(os.getpid()) == [site(1, count=2)]
    finally:
        servers.use(None)


def test_the_verb_lists_them(folder, capsys):
    assert cli.main(["report", str(os.getpid())]) == 2
    assert "nothing of resilient_wsgi is seen in process" in capsys.readouterr().err
    ledger.add([])
    assert cli.main(["report", str(os.getpid())]) == 1
    assert "are noted only with OUTBOUND.MODE = report" in capsys.readouterr().err
    ledger.add([site(1, count=12, worst=61.25)])
    assert cli.main(["report", str(os.getpid())]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(None, 4) == [
        "12", "61.25", "s", "upstream", "app.py:1 without a timeout",
    ]  # fmt: skip
    assert cli.main(["report", str(os.getpid()), "--json"]) == 0
    assert '"count": 12' in capsys.readouterr().out
