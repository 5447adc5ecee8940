"""The queue: how long a request has waited, and who is sent away for it."""

from __future__ import annotations

import random
import socket

import pytest
from hypothesis import given, strategies as st

from resilient_wsgi.events import OverloadBegan, OverloadEnded, RequestShed
from resilient_wsgi.host import sockets
from resilient_wsgi.overload.middleware import QueueMiddleware
from resilient_wsgi.overload.router_time import Calibration, parse
from resilient_wsgi.overload.shedding import ProbeAllowance
from resilient_wsgi.servers import Server
from resilient_wsgi.servers.facts import Configuration, Connections
from resilient_wsgi.settings.options import Overload
from resilient_wsgi.shm.layout import Geometry
from resilient_wsgi.shm.scoreboard import Scoreboard
from resilient_wsgi.testing import FakeClock, captured_events

NOW = 1_700_000_000.125


@pytest.mark.parametrize(
    "text",
    [
        "t=1700000000.125", "1700000000.125", "t=1700000000125", "1700000000125",
        "t=1700000000125000", "1700000000125000", "1700000000125000000", " 1700000000.125 ",
        "t=1700000001.000, t=1700000000.125", "nonsense,1700000000.125", ",,t=1700000000125",
        "1700000000125.0",
    ],
)  # fmt: skip
def test_a_stamp_is_read_in_seconds_milli_micro_and_nanoseconds(text):
    assert parse(text) == pytest.approx(NOW, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t=",
        "soon",
        "t=soon",
        "12",
        "-1700000000",
        "nan",
        "t=nan",
        "0",
        ",",
        "t=,1",
        "1700000000.125,",
        "1700000000.125, x",
    ],
)
def test_what_is_no_stamp_is_none(text):
    assert parse(text) is None


@given(st.text())
def test_no_header_makes_it_raise_or_look_plausible_by_accident(text):
    stamp = parse(text)
    assert stamp is None or stamp > 0
    if stamp is not None:
        waited = Calibration().waited(stamp, NOW)
        assert waited is None


def calibrated(difference=0.0):
    """Return a calibration that knows what the clocks differ by."""
    calibration = Calibration()
    for _ in range(3):
        calibration.waited(NOW - difference, NOW)
    return calibration


@pytest.mark.parametrize("skew", [0.0, 3600.0, 0.4])
def test_a_clock_that_is_behind_makes_no_request_look_old(skew):
    calibration, waits = calibrated(skew), [0.01, 0.0, 3.0, 0.02]
    told = [calibration.waited(NOW - skew, NOW + wait) for wait in waits]
    assert told == pytest.approx(waits, abs=1e-6)


def test_a_clock_that_is_ahead_makes_all_look_as_if_they_had_not_waited():
    calibration = calibrated(-10.0)
    assert [
        calibration.waited(NOW + 10, NOW + wait) for wait in (0.01, 3.0, 11.0)
    ] == pytest.approx([0, 0, 1.0])


@pytest.mark.parametrize("step", [0.2, 30.0, 3600.0, -0.2, -30.0, -3600.0])
def test_when_this_host_s_clock_is_set_nobody_seems_to_have_waited_for_the_difference(step):
    calibration, now = Calibration(), 0.0
    for _ in range(1000):
        now += 0.01
        calibration.waited(NOW + now - 0.002, NOW + now, now)
    told = []
    for _ in range(1000):
        now += 0.01
        told.append(calibration.waited(NOW + now - 0.002, NOW + now + step, now))
    assert max(wait or 0.0 for wait in told[1:]) < 0.01
    assert told[-1] == pytest.approx(0.0, abs=0.01)
    waited = calibration.waited(NOW + now - 1.502, NOW + now + step, now)
    # a router whose clock is ahead makes all look as if they had not waited
    assert waited == pytest.approx(1.5 if step > 0 else max(0.0, 1.502 + step), abs=1e-6)


def test_a_request_that_is_held_up_between_two_clocks_is_not_taken_for_a_clock_that_was_set():
    calibration, now = Calibration(), 0.0
    for n in range(1000):
        now += 0.01
        held_up = 0.3 if n % 10 == 9 else 0.0
        calibration.waited(NOW + now + held_up, NOW + now + held_up, now)
    assert calibration.waited(NOW + now - 1.5, NOW + now, now) == pytest.approx(1.5)


@pytest.mark.parametrize("skew", [0.0, 100.0])
@pytest.mark.parametrize("told", [-100.0, -3600.0, 0.0, 90.0, 500.0, -86400.0])
def test_one_stamp_moves_nothing_for_others(skew, told):
    calibration = Calibration()
    for request in range(1000):
        wall = NOW + request
        if request % 60 == 20:
            calibration.waited(wall - told, wall)
        elif request > 20:
            assert calibration.waited(wall - skew - 0.1, wall) < 0.2
            assert calibration.waited(wall - skew - 5.0, wall) > 4.8 if request % 60 == 40 else True
        else:
            calibration.waited(wall - skew, wall)


def test_the_first_of_all_stamps_moves_nothing_either():
    calibration = Calibration()
    calibration.waited(NOW + 100, NOW)
    assert {calibration.waited(NOW - 100, NOW) for _ in range(100)} == {None, 0.0}


def test_many_future_stamps_make_nobody_look_old_whose_router_s_clock_is_right():
    calibration, chance = Calibration(), random.Random(3)
    for request in range(3000):
        wall = NOW + request / 10
        if chance.random() < 0.7:
            calibration.waited(wall + chance.choice((1, 100, 3000)), wall)
        else:
            assert calibration.waited(wall - 0.1, wall) <= 0.11


def test_a_clock_that_is_days_off_tells_nothing():
    assert Calibration().waited(NOW - 86400, NOW) is None


@pytest.mark.parametrize("ahead", [3600.0, 601.0])
def test_of_two_routers_whose_clocks_differ_neither_s_requests_look_hours_old(ahead):
    calibration = calibrated()
    assert calibration.waited(NOW, NOW + 40) == 40
    assert calibration.waited(NOW - ahead, NOW) is None
    assert calibration.waited(NOW + ahead, NOW) == 0


def test_a_clock_that_is_set_is_followed_within_minutes():
    calibration = calibrated()
    assert calibration.waited(NOW, NOW + 100) == 100  # either it waited, or the clock was set
    for second in range(10, 400, 10):
        now = NOW + second
        waited = calibration.waited(now - 100, now)
    assert waited == 0
    for second in range(0, 400, 10):
        now = NOW - 3600 + second
        waited = calibration.waited(now, now + 0.1)
    assert waited == pytest.approx(0, abs=1e-6)


def test_what_was_learned_stays_where_there_are_few_requests():
    calibration = calibrated(100.0)
    for minute in range(30):
        now = NOW + 60.0 * minute
        assert calibration.waited(now - 100, now) == 0
    assert calibration.waited(now - 110, now) == 10


class Queued(Server, Configuration, Connections):
    """A server whose listen queue is a real one, as long as the test wants it."""

    def workers(self):
        return 5

    def __init__(self):
        super().__init__()
        self.configuration = self.connections = self
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=10)
        self._waiting = []

    def listening(self):
        return (self.socket.fileno(),)

    def let_wait(self, count):
        while len(self._waiting) < count:
            self._waiting.append(socket.create_connection(self.socket.getsockname()))

    def close(self):
        for connection in (*self._waiting, self.socket):
            connection.close()


class Clock(FakeClock):
    def wall_time(self):
        return NOW + self.now


@pytest.fixture
def scene():
    made = []

    class Scene:
        def __init__(self, depth=3, offset=0.0, measures=False, **options):
            self.server, self.clock, self.calls = Queued(), Clock(), 0
            made.append(self)
            self.server.let_wait(depth)
            self.middleware = QueueMiddleware(
                self.app,
                Overload(**{"queue_time_header": "X-Request-Start", **options}),
                self.server,
                self.clock,
                measures=measures,
            )
            for _ in range(30):
                self.ask(offset)  # shows what the clocks differ by

        def app(self, environ, start_response):
            self.calls += 1
            self.waited = environ.get("resilient_wsgi.waited")
            return []

        def ask(self, waited, path="/buy", **environ):
            """Return whether the app was called."""
            before = self.calls
            self.clock.advance(0.01)
            stamp = f"t={self.clock.wall_time() - waited:.3f}"
            environ = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": path,
                "HTTP_X_REQUEST_START": stamp,
                **environ,
            }
            self.body = self.middleware(environ, self.start_response)
            return self.calls > before

        def start_response(self, status, headers):
            self.status, self.headers = status, dict(headers)

    yield Scene
    for one in made:
        one.server.close()


def test_the_length_of_the_queue_is_the_kernel_s(scene):
    made = scene(depth=3)
    assert sockets.queue_depth(made.server.connections.listening()) == 3


def test_a_request_that_waited_too_long_is_answered_503_with_retry_after(scene):
    made = scene(max_wait=5.0)
    assert made.ask(4.9)
    assert made.waited == pytest.approx(4.9, abs=0.01)
    assert not made.ask(5.2)
    assert made.status == "503 Service Unavailable"
    assert made.headers["Retry-After"] == "6"
    assert int(made.headers["Content-Length"]) == len(b"".join(made.body))


def test_nothing_is_shed_while_the_kernel_says_that_the_queue_is_empty(scene):
    assert scene(depth=0, max_wait=5.0).ask(100)


def test_nothing_is_shed_where_the_queue_is_not_known(scene, monkeypatch):
    made = scene(max_wait=5.0)
    monkeypatch.setattr(made.server, "listening", lambda: ())
    assert made.ask(100)


def test_a_request_without_the_header_passes_and_so_does_one_whose_header_is_garbage(scene):
    made = scene(max_wait=5.0)
    assert made.ask(100, HTTP_X_REQUEST_START="yesterday")
    assert made.ask(100, HTTP_X_REQUEST_START="")
    assert made.ask(100, HTTP_X_REQUEST_START="t=1")


def test_after_one_that_hardly_waited_the_next_few_milliseconds_are_not_looked_at(scene):
    made = scene(max_wait=5.0)
    assert made.ask(0.001)
    made.clock.now -= 0.01
    assert made.ask(7)
    assert made.waited is None
    assert not made.ask(7)
    made.clock.now -= 0.01
    assert not made.ask(7)


@pytest.mark.parametrize("option", [{"measures": True}, {"target": 1.0}])
def test_every_one_is_looked_at_where_each_wait_counts(scene, option):
    made = scene(**option)
    assert made.ask(0.001)
    made.clock.now -= 0.01
    assert made.ask(0.7)
    assert made.waited == pytest.approx(0.7, abs=0.01)


def test_the_header_is_the_one_that_is_configured_and_no_other(scene):
    made = scene(max_wait=5.0)
    late = f"{made.clock.wall_time() - 100:.6f}"
    assert made.ask(0, HTTP_X_QUEUE_START=late)
    assert not made.ask(7, HTTP_X_QUEUE_START=f"{made.clock.wall_time() + 3600:.6f}")
    made = scene(max_wait=5.0, queue_time_header="X-Queue-Start")
    for _ in range(30):
        made.ask(100, HTTP_X_QUEUE_START=f"{made.clock.wall_time():.6f}")
    assert made.ask(100, HTTP_X_QUEUE_START=f"{made.clock.wall_time():.6f}")
    assert not made.ask(0, HTTP_X_QUEUE_START=late)


def test_of_several_values_the_last_one_counts_because_a_client_s_stand_before_it(scene):
    made = scene(max_wait=5.0)
    for forged in ("t=1", "nonsense", f"t={NOW + 1e5:.3f}", f"t={NOW - 1e3:.3f}"):
        assert made.ask(0, HTTP_X_REQUEST_START=f"{forged}, t={made.clock.wall_time():.3f}")
        assert not made.ask(0, HTTP_X_REQUEST_START=f"{forged}, t={made.clock.wall_time() - 7:.3f}")


PROBES = [
    ("/healthz", ""), ("/shop/-/ready", ""), ("/up", ""), ("/a/b/ping", ""), ("/status", ""),
    ("/", "kube-probe/1.29"), ("/", "ELB-HealthChecker/2.0"), ("/", "GoogleHC/1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "agent"), PROBES)
def test_a_health_probe_is_not_shed_but_only_five_in_a_second(scene, path, agent):
    made = scene(max_wait=5.0, max_shed_share=1.0)
    for _ in range(3):
        made.clock.now = float(int(made.clock.now) + 1)
        passed = [made.ask(100, path, HTTP_USER_AGENT=agent) for _ in range(20)]
        assert passed == [True] + [False] * 19  # one worker of the five that there are
    assert not made.ask(100, "/buy")


def test_our_own_probes_and_what_is_configured_are_never_shed(scene):
    made = scene(max_wait=5.0, max_shed_share=1.0, critical=("/lb-check",))
    assert all(
        made.ask(100, path) for path in ("/-/live", "/-/ready", "/lb-check") for _ in range(50)
    )


def test_the_workers_of_an_instance_share_what_may_pass_in_a_second():
    board = Scoreboard(-1, Geometry(4, 0, 1))
    workers = [ProbeAllowance(4, lambda: board) for _ in range(4)]
    for second in (10.0, 11.2, 99.0):
        assert sum(worker.take(second + n / 100) for n in range(10) for worker in workers) == 5


def test_without_shared_memory_each_worker_has_its_share():
    workers = [ProbeAllowance(10) for _ in range(10)]
    passed = sum(worker.take(100 + n / 100) for n in range(1000) for worker in workers)
    assert 50 <= passed <= 60  # in 10 s, and one for each to begin with


def test_what_is_critical_is_never_shed_and_what_is_sheddable_first(scene):
    made = scene(max_wait=6.0, critical=("/pay*",), sheddable=("/ads/*",))
    assert made.ask(100, "/pay/now")
    assert made.ask(4, "/buy")
    assert not made.ask(4, "/ads/1")
    assert made.ask(2, "/ads/1")


def test_never_more_than_the_share_is_shed_in_case_the_header_lies(scene):
    made = scene(max_wait=5.0, max_shed_share=0.5)
    shed = sum(not made.ask(100) for _ in range(2000))
    assert 0.48 < shed / 2000 < 0.52


def test_a_share_of_one_sheds_all_of_them(scene):
    made = scene(max_wait=5.0, max_shed_share=1.0)
    assert not any(made.ask(100) for _ in range(200))


def test_a_share_of_nothing_sheds_none(scene):
    made = scene(max_wait=5.0, max_shed_share=0.0)
    assert all(made.ask(100) for _ in range(200))


def test_report_says_what_would_be_shed_and_sheds_nothing(scene):
    made = scene(max_wait=5.0, mode="report")
    with captured_events() as happened:
        assert made.ask(7)
    assert [type(event) for event in happened] == [OverloadBegan, RequestShed]


def test_an_overload_is_told_when_it_begins_and_when_it_ends(scene):
    made = scene(max_wait=5.0)
    with captured_events() as happened:
        for _ in range(3):
            assert not made.ask(7)
            made.clock.advance(1)
        assert made.ask(0)
        made.clock.advance(20)
        assert made.ask(0)
        assert made.ask(0)
    loud = [event for event in happened if type(event) is not RequestShed]
    assert [type(event) for event in loud] == [OverloadBegan, OverloadEnded]
    assert (loud[1].shed, round(loud[1].seconds)) == (3, 2)


def test_a_burst_is_borne_but_not_an_overload_in_which_all_requests_wait(scene):
    made = scene(target=0.5)
    for waited in (3, 2, 1, 0.1) * 3:  # a burst: somebody always gets through at once
        assert made.ask(waited)
        made.clock.advance(0.3)
    for _ in range(8):
        made.ask(2)
        made.clock.advance(0.3)
    assert not made.ask(2)
    assert made.ask(0.9)
    made.ask(0.1)
    made.clock.advance(1.1)
    made.ask(0.1)
    made.clock.advance(1.1)
    assert made.ask(2)


def test_a_failure_of_our_own_lets_the_request_pass(scene, monkeypatch, caplog):
    made = scene(max_wait=5.0)
    monkeypatch.setattr(made.server, "listening", lambda: 1 / 0)
    assert made.ask(100)
    assert "error inside resilient_wsgi" in caplog.text


@pytest.mark.parametrize("offset", [0.0, 3600.0, -3600.0])
def test_ordinary_traffic_is_never_shed_whatever_the_clocks_and_headers_are(scene, offset):
    """Requests that hardly wait, behind a clock that is off and drifts, some with garbage in the
    header.
    """
    made, chance = scene(max_wait=5.0, target=0.5, offset=offset), random.Random(7)
    garbage = ("?", "t=", "1", "9" * 30, "nan", "-1", "inf", "t=1e400")
    for number in range(30_000):
        drift = offset + number * 1e-6
        header = {} if number % 50 else {"HTTP_X_REQUEST_START": chance.choice(garbage)}
        assert made.ask(drift + chance.expovariate(200), **header)
        made.clock.advance(0.001)
