"""Which limits hold: defaults, hosts, blocks."""

from __future__ import annotations

import math

import pytest

from resilient_wsgi.errors import ConfigurationError
from resilient_wsgi.outbound import timeouts, unlimited
from resilient_wsgi.outbound.policy import Policy
from resilient_wsgi.settings.options import Outbound

HOSTS = {
    "api.upstream.example": {"total_timeout": 60.0},
    "*.internal": {"total_timeout": 2.0, "read_timeout": 1.0},
    "slow.internal": {"total_timeout": 9.0},
    "127.0.0.1:9200": {"connect_timeout": 0.5},
    "[::1]:9200": {"connect_timeout": 0.25},
}


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("elsewhere.example", 443, (5, 15, 30)),
        ("api.upstream.example", 443, (5, 15, 60)),
        ("API.Upstream.Example", 80, (5, 15, 60)),
        ("xapi.upstream.example", 80, (5, 15, 30)),
        ("a.internal", 80, (5, 1, 2)),
        ("a.b.internal", 80, (5, 1, 2)),
        ("internal", 80, (5, 15, 30)),
        ("slow.internal", 80, (5, 1, 9)),
        ("127.0.0.1", 9200, (0.5, 15, 30)),
        ("127.0.0.1", 9201, (5, 15, 30)),
        ("::1", 9200, (0.25, 15, 30)),
        ("[::1]", 9200, (0.25, 15, 30)),
    ],
)
def test_the_most_specific_pattern_of_a_host_wins(host, port, expected):
    limits = Policy(Outbound(hosts=HOSTS)).limits(host, port, in_request=True)
    assert tuple(limit.seconds for limit in limits) == expected


def test_a_limit_says_who_set_it():
    limits = Policy(Outbound(hosts=HOSTS)).limits("a.internal", 80)
    assert limits.total.source == "HOSTS['*.internal'] TOTAL_TIMEOUT"
    assert limits.connect.source == "default CONNECT_TIMEOUT"
    policy = Policy(Outbound(read_timeout=7))
    assert (
        policy.limits("a", 80, in_request=True).total.source == "default TOTAL_TIMEOUT in a request"
    )
    assert policy.limits("a", 80).read.source == "OUTBOUND.READ_TIMEOUT"


def test_the_defaults_differ_in_a_request_and_elsewhere_and_a_setting_holds_in_both():
    policy = Policy(Outbound())
    assert [limit.seconds for limit in policy.limits("a", 80, in_request=True)] == [5, 15, 30]
    assert [limit.seconds for limit in policy.limits("a", 80)] == [10, 120, math.inf]
    policy = Policy(Outbound(total_timeout=20))
    assert [limit.seconds for limit in policy.limits("a", 80, in_request=True)] == [5, 15, 20]
    assert [limit.seconds for limit in policy.limits("a", 80)] == [10, 120, 20]
    policy = Policy(Outbound(read_timeout=None))
    assert [limit.seconds for limit in policy.limits("a", 80, in_request=True)] == [5, math.inf, 30]


def test_a_block_wins_over_the_settings_and_is_restored():
    policy = Policy(Outbound(hosts=HOSTS))
    with timeouts(total=5, read=3):
        with timeouts(total=4):
            assert [limit.seconds for limit in policy.limits("a.internal", 80)] == [10, 3, 4]
            assert policy.limits("a.internal", 80).total.source == "outbound.timeouts(total=)"
        assert policy.limits("a.internal", 80).total.seconds == 5
    assert policy.limits("a.internal", 80).total.seconds == 2


def test_a_block_left_by_an_exception_restores():
    policy = Policy(Outbound())
    with pytest.raises(KeyError), timeouts(total=1):
        raise KeyError
    assert policy.limits("a", 80).total.seconds == math.inf


def test_unlimited_lifts_all_three_and_says_why():
    policy = Policy(Outbound())
    with unlimited("nightly export"):
        limits = policy.limits("a", 80)
        assert [limit.seconds for limit in limits] == [math.inf] * 3
        assert "nightly export" in limits.total.source
        with timeouts(read=2):
            assert [limit.seconds for limit in policy.limits("a", 80)] == [math.inf, 2, math.inf]


@pytest.mark.parametrize("value", [-1, 0, float("nan"), float("inf"), "5", True, [1]])
def test_what_is_no_number_of_seconds_is_a_clear_error(value):
    with pytest.raises(
        ConfigurationError,
        match=r"outbound\.timeouts\(total=.*it takes a number of seconds, above 0",
    ):
        timeouts(total=value)


def test_all_mistakes_of_a_block_are_said_at_once():
    with pytest.raises(ConfigurationError) as caught:
        timeouts(connect=-1, read="x", total=3)
    assert len(caught.value.mistakes) == 2


@pytest.mark.parametrize("reason", ["", " ", None, 5])
def test_unlimited_wants_a_reason(reason):
    with pytest.raises(ConfigurationError, match="the reason, in words"):
        unlimited(reason)
