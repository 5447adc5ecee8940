"""One table of settings, three sources, and every mistake said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilient_wsgi.errors import ConfigurationError
from resilient_wsgi.settings import sources
from resilient_wsgi.settings.options import Settings, table
from tools import settings_doc


def mistakes(**sources_given):
    sources_given.setdefault("environ", {})
    with pytest.raises(ConfigurationError) as caught:
        sources.read(**sources_given)
    return caught.value.mistakes


def test_with_nothing_given_the_defaults_hold():
    assert sources.read(environ={}) == Settings()


def test_arguments_win_over_django_and_django_over_the_environment():
    environ = {
        f"RESILIENT_WSGI_OUTBOUND_{name}_TIMEOUT": "1" for name in ("CONNECT", "READ", "TOTAL")
    }
    read = sources.read(
        arguments={"OUTBOUND": {"CONNECT_TIMEOUT": 3}},
        django={"OUTBOUND": {"CONNECT_TIMEOUT": 2, "READ_TIMEOUT": 2}},
        environ=environ,
    ).outbound
    assert (read.connect_timeout, read.read_timeout, read.total_timeout) == (3, 2, 1)


@pytest.mark.parametrize(
    "variable", ["RESILIENT_WSGI", "RESILIENT_WSGI_OUTBOUND", "RESILIENT_WSGI_OUTBOUND_MODE"]
)
def test_an_off_switch_in_the_environment_wins_over_everything(variable):
    read = sources.read({"OUTBOUND": {"MODE": "enforce"}}, environ={variable: "off"})
    assert read.outbound.mode == "off"
    assert read.stderr.mode == ("off" if variable == "RESILIENT_WSGI" else "enforce")


@pytest.mark.parametrize("word", ["off", False])
def test_a_section_may_be_the_word_of_its_mode(word):
    assert sources.read({"STDERR": word}, environ={}).stderr.mode == "off"


def test_every_option_can_be_set_from_the_environment():
    environ = {
        o.variable: ",".join(o.default) if isinstance(o.default, tuple) else str(o.default)
        for o in table()
    }
    assert sources.read(environ=environ) == Settings()


def test_all_mistakes_of_all_sources_are_listed_at_once():
    found = mistakes(
        arguments={"OUTBOUND": {"TOTAL_TIMOUT": 1}, "BACKLOG": {"MINIMUM": -1}},
        django={"OUTBOUNT": {}},
        environ={"RESILIENT_WSGI_STDER": "off"},
    )
    assert found == (
        "RESILIENT_WSGI_STDER in the environment is not known; did you mean 'RESILIENT_WSGI_STDERR'?",
        "settings.RESILIENT_WSGI: section 'OUTBOUNT' is not known; did you mean 'OUTBOUND'?",
        "install(): option 'TOTAL_TIMOUT' of OUTBOUND is not known; did you mean 'TOTAL_TIMEOUT'?",
        "install()['BACKLOG']['MINIMUM'] is -1: it takes a whole number, 1 or more",
    )


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "soon", True, [1]])
def test_a_timeout_that_is_no_positive_number_is_a_mistake(value):
    (mistake,) = mistakes(arguments={"OUTBOUND": {"TOTAL_TIMEOUT": value}})
    assert "a number of seconds, above 0, or None (no limit)" in mistake


@pytest.mark.parametrize("value", [None, "none", ""])
def test_no_timeout_is_accepted_where_that_means_something(value):
    assert sources.read({"REQUEST": {"TIMEOUT": value}}, environ={}).request.timeout is None


@pytest.mark.parametrize("value", [1.5, "1.5", -1, True, None])
def test_a_count_that_is_no_whole_number_is_a_mistake(value):
    (mistake,) = mistakes(arguments={"STDERR": {"BUFFER_BYTES": value}})
    assert "it takes a whole number, 0 or more" in mistake


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (
            "SIGUSR2",
            "SIGUSR2 is not free: uWSGI prints a worker's state at it, gunicorn upgrades itself",
        ),
        ("SIGHUP", "SIGHUP is not free: uWSGI and gunicorn reload by it"),
        ("SIGXCPU", "SIGXCPU is not free"),
        ("44", "44 is a number: signals are named here"),
        ("SIGRTMIN+31", "is not free"),
    ],
)
def test_a_signal_that_is_not_free_is_refused_by_name(value, why):
    (mistake,) = mistakes(arguments={"REQUEST": {"STACKS_SIGNAL": value}})
    assert why in mistake


def test_a_signal_may_be_none():
    settings = sources.read(
        {"REQUEST": {"STACKS_SIGNAL": None, "SOFT_SIGNAL": "sigrtmin+3"}}, environ={}
    )
    assert (settings.request.stacks_signal, settings.request.soft_signal) == (None, "SIGRTMIN+3")


@pytest.mark.parametrize(
    "option", [{"PATHS": {"export": 5}}, {"PATHS": {"/x": -1}}, {"PATHS": 5}, {"CRITICAL": "pay"}, {"CRITICAL": 5},
               {"MAX_SHED_SHARE": 1.5}, {"MAX_SHED_SHARE": True}, {"TRUSTED_HEADERS": [5]}]
)  # fmt: skip
def test_what_a_table_of_paths_a_list_or_a_share_cannot_be_is_a_mistake(option):
    assert mistakes(arguments={"REQUEST": option})


def test_paths_are_read_from_json_and_from_commas():
    environ = {
        "RESILIENT_WSGI_REQUEST_PATHS": '{"/x*": 5, "/y": null}',
        "RESILIENT_WSGI_REQUEST_CRITICAL": "/pay, /buy/*",
    }
    request = sources.read(environ=environ).request
    assert (request.paths, request.critical) == ({"/x*": 5.0, "/y": None}, ("/pay", "/buy/*"))


@pytest.mark.parametrize("pattern", ["http://x", "*", "a*b", "x:port", "", "*.a.b:99999999", 7])
def test_a_host_pattern_that_can_match_no_host_is_a_mistake(pattern):
    (mistake,) = mistakes(arguments={"OUTBOUND": {"HOSTS": {pattern: {"READ_TIMEOUT": 1}}}})
    assert f"{pattern!r} is not a host pattern" in mistake


@pytest.mark.parametrize("limits", [{}, None, 5, {"TIMEOUT": 1}, {"READ_TIMEOUT": 0}])
def test_a_host_without_usable_limits_is_a_mistake(limits):
    (mistake,) = mistakes(arguments={"OUTBOUND": {"HOSTS": {"api.example": limits}}})
    assert "HOSTS" in mistake


def test_hosts_are_read_from_json_in_the_environment():
    hosts = '{"*.Internal:80": {"TOTAL_TIMEOUT": 3}, "[::1]": {"READ_TIMEOUT": 1}}'
    read = sources.read(environ={"RESILIENT_WSGI_OUTBOUND_HOSTS": hosts})
    assert read.outbound.hosts == {
        "*.internal:80": {"total_timeout": 3.0},
        "[::1]": {"read_timeout": 1.0},
    }


@pytest.mark.parametrize("given", [5, "off", ["OUTBOUND"]])
def test_settings_that_are_no_dictionary_are_a_mistake(given):
    (mistake,) = mistakes(django=given)
    assert "it takes a dictionary of sections" in mistake


def test_mistakes_are_returned_by_where_they_are_and_the_rest_is_used():
    found = sources.find(
        {"STDERR": {"KEEP": 5}},
        {"REQUEST": {"TIMEOUT": 4, "TIMOUT": 3}},
        {
            "RESILIENT_WSGI_STDERR_KEEP": "middle",
            "RESILIENT_WSGI_THREADS_GRACE": "3",
            "RESILIENT_WSGI_OUTBOUND": "off",
        },
    )
    assert found.settings.threads.grace == 3
    assert found.settings.request.timeout == 4
    assert found.settings.stderr.keep == "newest"
    assert found.settings.outbound.mode == "off"
    assert found.environment == (
        "RESILIENT_WSGI_STDERR_KEEP in the environment is 'middle': it takes newest | oldest",
    )
    assert found.django[0].startswith(
        "settings.RESILIENT_WSGI: option 'TIMOUT' of REQUEST is not known"
    )
    assert found.arguments == ("install()['STDERR']['KEEP'] is 5: it takes newest | oldest",)


def test_the_settings_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert settings_doc.main(["--check", str(page)]) == 0


def test_a_settings_page_that_is_not_current_is_found_out(tmp_path, capsys):
    page = tmp_path / "settings.md"
    page.write_text("old")
    assert settings_doc.main(["--check", str(page)]) == 1
    assert "make settings-doc" in capsys.readouterr().err
