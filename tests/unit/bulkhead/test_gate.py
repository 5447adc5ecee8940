"""Marks and limits in a scoreboard in memory."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import socket
import threading
import time

import pytest
import requests
import urllib3

from resilient_wsgi import deadline, errors
from resilient_wsgi.bulkhead.gate import Gate
from resilient_wsgi.bulkhead.rows import Rows
from resilient_wsgi.bulkhead.rule import Rule
from resilient_wsgi.bulkhead.state import Pool
from resilient_wsgi.bulkhead.upstreams import Upstreams
from resilient_wsgi.host import procfs
from resilient_wsgi.outbound import component as outbound, exceptions
from resilient_wsgi.outbound.exceptions import Limited
from resilient_wsgi.request.running import RequestDeadline
from resilient_wsgi.settings.options import Outbound
from resilient_wsgi.shm.layout import TRIED_BEFORE
from resilient_wsgi.upstream import meeting
from tests.scoreboards import in_memory

URL = "http://127.0.0.1:9/path"


class Fixture:
    def __init__(self, workers=4, hosts=(), alone=False):
        self.board = in_memory(workers)
        for number in range(1, workers + 1):
            row = self.board.worker(number)
            row.pid, row.started, row.seen = os.getpid(), procfs.start(os.getpid()), 1.0
        self.upstreams = Upstreams(self.board, dict(hosts), alone=alone)
        self.rule = Rule(Pool(self.board.pool))
        self.rule.upstreams = self.upstreams.known
        self.rows = Rows(
            self.board, self.board.worker(1), self.upstreams.known, 1, lambda: True, alone=alone
        )
        self.rows.refresh(time.monotonic())
        self.lifted = []
        self.gate = Gate(
            self.board, self.upstreams, self.rows, self.rule, self.lifted.append, report=False
        )

    def waiting(self):
        return [number for number in self.board.waits_for if number]


@pytest.fixture
def fair():
    """A gate that is asked, in a request of this thread."""
    made = Fixture()
    before = deadline.replace(RequestDeadline(time.monotonic(), 60.0, {}))
    place_of, meeting.place_of = meeting.place_of, lambda thread: 0
    meeting.gate = made.gate
    outbound.install()
    try:
        yield made
    finally:
        outbound.uninstall()
        meeting.gate, meeting.place_of = None, place_of
        deadline.replace(before)


def limit(fair, url=URL):
    up = fair.upstreams.of(url)
    up.limit.ordered_at = up.limit.probe_at = time.monotonic()
    fair.rule.pool.restrained = 1
    return up


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("http://api.example/a/b?c=d", "api.example:80"),
        ("https://API.example", "api.example:443"),
        ("https://user:pw@api.example:8443/x", "api.example:8443"),
        (("api.example", 81), "api.example:81"),
        (("::1", 82), "[::1]:82"),
        ("http://[::1]:82/", "[::1]:82"),
    ],
)
def test_an_upstream_is_a_host_and_a_port(fair, target, name):
    assert fair.upstreams.of(target).name == name
    assert fair.upstreams.of(target) is fair.upstreams.of(target)


@pytest.mark.parametrize("target", ["", "http://", "not a url", "http://[::1"])
def test_what_names_no_host_has_none(fair, target):
    assert fair.upstreams.of(target) is None


def test_a_query_does_not_fill_the_table(fair):
    for n in range(5):
        fair.upstreams.of(f"http://api.example?{n}")
    assert len(fair.upstreams._by_target) <= 1


def test_beyond_the_places_there_is_none_and_nothing_breaks(fair):
    found = [fair.upstreams.of((f"host{n}", 80)) for n in range(300)]
    assert found[0] is not None
    assert found[-1] is None


def test_an_upstream_that_got_no_number_is_asked_for_again_later(fair, monkeypatch):
    monkeypatch.setattr(type(fair.board), "name", lambda *_: 1)  # the table is locked for long
    assert fair.upstreams.of(URL) is None
    monkeypatch.undo()
    assert fair.upstreams.of(URL) is None  # not at once: it would wait for the lock each time
    fair.upstreams.follow(1.0)
    assert fair.upstreams.of(URL).name == "127.0.0.1:9"


def test_a_call_that_fails_leaves_no_mark(fair):
    seen = []
    session = requests.Session()
    session.hooks["response"].append(lambda *_, **__: seen.append(fair.waiting()))
    with pytest.raises(requests.ConnectionError):
        session.get(URL)
    assert fair.waiting() == []


def test_a_refused_call_is_the_clients_own_exception_and_says_so(fair):
    limit(fair)
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(URL)
    assert isinstance(caught.value, errors.UpstreamLimited)
    assert not isinstance(caught.value, errors.DeadlineExceeded)
    assert type(caught.value).__bases__ == (requests.ConnectTimeout, errors.UpstreamLimited)
    assert "127.0.0.1" in str(caught.value)
    assert caught.value.request.url == URL
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)
    assert fair.waiting() == []


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("ordered_at", "by an operator (resilient-wsgi limit); nothing was sent"),
        ("limited_at", "3 of 4 threads wait for it, and it does not answer in time"),
        ("", "3 of 4 threads wait for it, its share in BULKHEAD.HOSTS; nothing was sent"),
    ],
)
def test_a_refusal_says_why(fair, field, words):
    up = fair.upstreams.of(URL)
    if field:
        setattr(up.limit, field, time.monotonic())
    else:
        up.share = 0.5
    up.limit.probe_at = time.monotonic()
    fair.rule.pool.restrained = 1
    for place in range(1, 5):
        fair.board.waits_for[place - 1] = up.number
    with pytest.raises(requests.ConnectionError, match=re.escape(words)):
        requests.get(URL)


def test_httpx_urllib3_and_urllib_raise_their_own(fair):
    import urllib.error
    import urllib.request

    import httpx

    limit(fair)
    for call, kind in (
        (lambda: httpx.get(URL), httpx.ConnectTimeout),
        (lambda: urllib3.PoolManager().request("GET", URL), urllib3.exceptions.TimeoutError),
        (lambda: urllib.request.urlopen(URL), urllib.error.URLError),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert isinstance(caught.value, errors.UpstreamLimited)


@pytest.mark.parametrize(("report", "counted"), [(True, 1), (False, 0)])
def test_a_dry_run_of_outbound_counts_calls_for_a_dry_run_of_fair_share(fair, report, counted):
    seen = []
    outbound.install(Outbound(mode="report"))
    fair.gate.report = report
    with Failing(lambda: seen.extend(fair.waiting())) as failing:
        assert requests.get(failing.url).status_code == 503
    assert len(seen) == counted
    assert fair.waiting() == []


def test_a_limited_upstream_is_not_tried_again(fair):
    up = limit(fair)
    retries = urllib3.Retry(total=5, backoff_factor=2)
    begin = time.monotonic()
    with pytest.raises(errors.UpstreamLimited):
        urllib3.PoolManager(retries=retries).request("GET", URL)
    assert time.monotonic() - begin < 0.5
    assert up.limit.refused == 1


class Failing:
    """An upstream that answers 503, and may do something with each request."""

    def __init__(self, each=lambda: None):
        self.asked = 0
        self._each = each
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock:
                    sock.recv(65536)
                    self.asked += 1
                    self._each()
                    sock.sendall(
                        b"HTTP/1.1 503 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


def tried(url, total=5):
    """Ask with retries; return the status of the last answer."""
    retries = urllib3.Retry(total=total, status_forcelist=[503], raise_on_status=False)
    return urllib3.PoolManager(retries=retries).request("GET", url).status


@pytest.mark.parametrize(("others", "asked"), [(2, 6), (3, 1)])
def test_few_retries_are_under_way_at_a_time(fair, others, asked):
    with Failing() as failing:
        number = fair.upstreams.of(failing.url).number
        for place in range(1, 1 + others):
            fair.board.waits_for[place] = number | TRIED_BEFORE
        assert tried(failing.url) == 503
        assert failing.asked == asked
    assert fair.board.waits_for[0] == 0


def test_where_many_calls_are_under_way_a_fifth_of_them_may_be_retries():
    made = Fixture(workers=40)
    up = made.upstreams.of(URL)
    for place in range(1, 30):
        made.board.waits_for[place] = up.number | (TRIED_BEFORE if place <= 5 else 0)
    call = place_call(made, 0)
    assert made.gate.retry(call)  # the sixth of 30
    assert not made.gate.retry(place_call(made, 39))
    assert made.gate.retry(call)  # again


def place_call(made, place):
    place_of, meeting.place_of = meeting.place_of, lambda thread: place
    try:
        return made.gate.enter(URL)
    finally:
        meeting.place_of = place_of


def test_what_is_limited_meanwhile_is_not_tried_again(fair):
    with Failing() as failing:
        up = fair.upstreams.of(failing.url)
        failing._each = lambda: setattr(up.limit, "limited_at", time.monotonic())
        assert tried(failing.url) == 503  # its own answer, as if no tries were left
        assert failing.asked == 1


def test_retries_are_seen_from_outside_as_calls(fair):
    up = fair.upstreams.of(URL)
    fair.board.waits_for[2] = up.number | TRIED_BEFORE
    fair.board.waits_since[2] = 5.0
    assert fair.rows.held(up) == 1
    assert fair.rows.oldest(up) == 5.0
    assert [each.upstream for each in fair.rows.calls()] == [up]


def test_a_payment_is_as_old_as_it_is_since_it_was_sent(fair):
    call = place_call(fair, 0)
    fair.board.waits_since[0] -= 3.0  # it took so long to connect
    fair.gate.sent(call)
    (found,) = fair.rows.calls()
    assert time.monotonic() - found.since < 1.0
    assert found.patience == 5.0
    fair.gate.leave(call, None)
    assert fair.board.patience[0] == 0


def test_outside_of_requests_nothing_is_refused_or_marked(fair):
    limit(fair)
    deadline.replace(None)
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(URL)
    assert not isinstance(caught.value, errors.UpstreamLimited)


def test_a_thread_without_a_request_is_not_refused(fair):
    limit(fair)
    meeting.place_of = lambda thread: None
    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(URL)
    assert not isinstance(caught.value, errors.UpstreamLimited)


def test_settings_of_the_most_specific_pattern_hold():
    hosts = {"*.example": {"share": 0.3}, "api.example:81": {"exempt": True}}
    upstreams = Fixture(hosts=hosts).upstreams
    assert upstreams.of("http://x.example/").share == 0.3
    assert upstreams.of("http://api.example:81/").exempt
    assert not upstreams.of("http://other/").exempt


def test_what_one_process_learns_and_limits_the_others_see(fair):
    other = Upstreams(fair.board, {}, alone=False)
    mine = fair.upstreams.of(URL)
    mine.history.teach(0.02)
    mine.limit.limited_at = 7.0
    other.follow(0.0)
    assert other.known[mine.number].history.usual == mine.history.usual
    assert other.known[mine.number].limit.limited_at == 7.0


def test_under_gthread_limits_are_each_workers_own_and_history_is_shared():
    one = Fixture(alone=True)
    other = Upstreams(one.board, {}, alone=True)
    mine, theirs = one.upstreams.of(URL), other.of(URL)
    mine.history.teach(0.02)
    mine.limit.limited_at = 7.0
    assert theirs.history.usual == mine.history.usual
    assert not theirs.limit.limited_at


def test_rows_of_the_dead_are_cleared_and_do_not_count(fair):
    up = fair.upstreams.of(URL)
    child = os.fork()
    if not child:
        os._exit(0)
    row = fair.board.worker(2)
    row.pid, row.started = child, procfs.start(child)
    os.waitpid(child, 0)
    fair.board.waits_for[1], fair.board.waits_since[1] = up.number, time.monotonic() - 5
    fair.rows.refresh(time.monotonic())
    assert fair.waiting() == []
    assert fair.rows.count == 3


def test_a_stopped_process_is_not_idle(fair):
    import signal
    import subprocess

    up = fair.upstreams.of(URL)
    sleeper = subprocess.Popen(["sleep", "30"])
    try:
        os.kill(sleeper.pid, signal.SIGSTOP)
        os.waitpid(sleeper.pid, os.WUNTRACED)
        row = fair.board.worker(2)
        row.pid, row.started = sleeper.pid, procfs.start(sleeper.pid)
        fair.board.waits_for[0], fair.board.waits_since[0] = up.number, time.monotonic() - 5
        fair.rows.refresh(time.monotonic())
        assert fair.rows.count == 3
    finally:
        sleeper.kill()
        sleeper.wait()


def test_exceptions_of_limits_are_composed_once_for_each_kind():
    one = exceptions.compose(requests.ReadTimeout, errors.UpstreamLimited)
    assert one is exceptions.compose(requests.ReadTimeout, errors.UpstreamLimited)
    assert exceptions.failure(Limited("x")) is not None
