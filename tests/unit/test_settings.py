"""One table of settings, three sources, and every mistake said at once."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from resilient_wsgi.settings import sources
from resilient_wsgi.settings.options import Outbound, Settings, table
from resilient_wsgi.settings.section import Section, mode, option
from resilient_wsgi.settings.types import AutoBoolean, Boolean, Choice, Integer
from tools import settings_doc


def mistakes(**sources_given):
    sources_given.setdefault("environ", {})
    return sources.find(**sources_given).mistakes()


def read(*sources_given, **environ):
    """Return settings in which there is no mistake."""
    found = sources.find(*sources_given, **environ)
    assert found.mistakes() == ()
    return found.settings


def test_with_nothing_given_the_defaults_hold():
    assert read(environ={}) == Settings()


def test_arguments_win_over_django_and_django_over_the_environment():
    environ = {
        f"RESILIENT_WSGI_OUTBOUND_{name}_TIMEOUT": "1" for name in ("CONNECT", "READ", "TOTAL")
    }
    given = read(
        arguments={"OUTBOUND": {"CONNECT_TIMEOUT": 3}},
        django={"OUTBOUND": {"CONNECT_TIMEOUT": 2, "READ_TIMEOUT": 2}},
        environ=environ,
    ).outbound
    assert (given.connect_timeout, given.read_timeout, given.total_timeout) == (3, 2, 1)


@pytest.mark.parametrize(
    "variable", ["RESILIENT_WSGI", "RESILIENT_WSGI_OUTBOUND", "RESILIENT_WSGI_OUTBOUND_MODE"]
)
def test_an_off_switch_in_the_environment_wins_over_everything(variable):
    given = read({"OUTBOUND": {"MODE": "enforce"}}, environ={variable: "off"})
    assert given.outbound.mode == "off"
    assert given.stderr.mode == ("off" if variable == "RESILIENT_WSGI" else "enforce")


@pytest.mark.parametrize("word", ["off", False])
def test_a_section_may_be_the_word_of_its_mode(word):
    assert read({"STDERR": word}, environ={}).stderr.mode == "off"


def test_every_option_can_be_set_from_the_environment():
    environ = {
        o.variable: ",".join(o.default) if isinstance(o.default, tuple) else str(o.default)
        for o in table()
    }
    assert read(environ=environ) == Settings()


def test_all_mistakes_of_all_sources_are_listed_at_once():
    found = mistakes(
        arguments={"OUTBOUND": {"TOTAL_TIMOUT": 1}, "BACKLOG": {"MINIMUM": -1}},
        django={"OUTBOUNT": {}},
        environ={"RESILIENT_WSGI_STDER": "off"},
    )
    assert found == (
        (
            "RESILIENT_WSGI_STDER in the environment is not known; "
            "did you mean 'RESILIENT_WSGI_STDERR'?"
        ),
        "settings.RESILIENT_WSGI: section 'OUTBOUNT' is not known; did you mean 'OUTBOUND'?",
        "install(): option 'TOTAL_TIMOUT' of OUTBOUND is not known; did you mean 'TOTAL_TIMEOUT'?",
        "install()['BACKLOG']['MINIMUM'] is -1: it takes an integer, 1 or more",
    )


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "soon", True, [1]])
def test_a_timeout_that_is_no_positive_number_is_a_mistake(value):
    (mistake,) = mistakes(arguments={"OUTBOUND": {"TOTAL_TIMEOUT": value}})
    assert "a number of seconds, above 0, or None (no limit)" in mistake


@pytest.mark.parametrize("value", [None, "none", ""])
def test_no_timeout_is_accepted_where_that_means_something(value):
    assert read({"REQUEST": {"TIMEOUT": value}}, environ={}).request.timeout is None


@pytest.mark.parametrize("value", [1.5, "1.5", -1, True, None])
def test_a_count_that_is_no_whole_number_is_a_mistake(value):
    (mistake,) = mistakes(arguments={"STDERR": {"BUFFER_BYTES": value}})
    assert "it takes an integer, 0 or more" in mistake


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
    settings = read({"REQUEST": {"STACKS_SIGNAL": None, "SOFT_SIGNAL": "sigrtmin+3"}}, environ={})
    assert (settings.request.stacks_signal, settings.request.soft_signal) == (None, "SIGRTMIN+3")


@pytest.mark.parametrize(
    "option",
    [{"PATHS": {"export": 5}}, {"PATHS": {"/x": -1}}, {"PATHS": 5}, {"TRUSTED_HEADERS": [5]}],
)  # fmt: skip
def test_what_a_table_of_paths_or_a_list_cannot_be_is_a_mistake(option):
    (mistake,) = mistakes(arguments={"REQUEST": option})
    assert "it takes" in mistake


@pytest.mark.parametrize(
    "option",
    [{"CRITICAL": "pay"}, {"CRITICAL": 5}, {"MAX_SHED_SHARE": 1.5}, {"MAX_SHED_SHARE": True}],
)
def test_what_a_list_of_paths_or_a_fraction_cannot_be_is_a_mistake(option):
    (mistake,) = mistakes(arguments={"OVERLOAD": option})
    assert "it takes" in mistake


def test_paths_are_read_from_json_and_from_commas():
    environ = {
        "RESILIENT_WSGI_REQUEST_PATHS": '{"/x*": 5, "/y": null}',
        "RESILIENT_WSGI_OVERLOAD_CRITICAL": "/pay, /buy/*",
    }
    given = read(environ=environ)
    assert (given.request.paths, given.overload.critical) == (
        {"/x*": 5.0, "/y": None},
        ("/pay", "/buy/*"),
    )


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
    given = read(environ={"RESILIENT_WSGI_OUTBOUND_HOSTS": hosts})
    assert given.outbound.hosts == {
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


@pytest.mark.parametrize(
    ("section", "old", "now"),
    [
        ("REQUEST", "SHED", "OVERLOAD.MODE"),
        ("REQUEST", "MAX_QUEUE_WAIT", "OVERLOAD.MAX_WAIT"),
        ("REQUEST", "QUEUE_HEADER", "OVERLOAD.QUEUE_TIME_HEADER"),
        ("REQUEST", "CRITICAL", "OVERLOAD.CRITICAL"),
        ("REQUEST", "GRACE", "REQUEST.OVERDUE_GRACE"),
        ("REQUEST", "DRAIN", "REQUEST.RECYCLE_DRAIN"),
        ("STDERR", "SPILL_BYTES", "STDERR.BUFFER_BYTES"),
        ("THREADS", "UNTOLD_GRACE", "THREADS.UNSIGNALLED_GRACE"),
        ("THREADS", "FUSE", "THREADS.EXIT_TIMEOUT"),
        ("READINESS", "QUEUE_MARK", "READINESS.QUEUE_LIMIT"),
    ],
)
def test_an_option_of_another_name_or_section_is_rejected_with_the_one_that_is_meant(
    section, old, now
):
    (mistake,) = mistakes(arguments={section: {old: 1}})
    name = now.removeprefix(f"{section}.")
    assert mistake == (
        f"install(): option {old!r} of {section} is not known; did you mean {name!r}?"
    )
    variable = f"RESILIENT_WSGI_{now.replace('.', '_')}"
    (mistake,) = mistakes(environ={f"RESILIENT_WSGI_{section}_{old}": "1"})
    assert mistake.endswith(f"is not known; did you mean {variable!r}?")


@pytest.mark.parametrize("option", list(table()), ids=lambda option: option.path)
def test_off_is_spelled_in_one_way_for_each_type(option):
    assert option.default is not None or "None (" in option.kind.accepts
    if isinstance(option.kind, Boolean):
        assert type(option.default) is bool
    if isinstance(option.kind, AutoBoolean):
        assert option.default in ("auto", True, False)
        assert option.kind.read("off") is False
    if isinstance(option.kind, Choice) and "off" in option.kind.words:
        assert option.kind.words == ("enforce", "report", "off")


@pytest.mark.parametrize("option", list(table()), ids=lambda option: option.path)
def test_an_option_is_explained_in_a_sentence_of_its_own(option):
    assert option.sentence[0].isupper() or option.sentence[0] == "`"
    assert option.sentence.endswith(".")


def test_an_options_class_is_a_section_in_every_source_and_can_be_taken_back():
    class Toy(Section):
        mode: str = mode("nothing is played.")
        size: int = option(3, Integer(at_least=1), "The size of the toy.")

    try:
        assert read({"TOY": {"SIZE": 5}}, environ={})[Toy] == Toy(size=5)
        environ = {"RESILIENT_WSGI_TOY_SIZE": "7", "RESILIENT_WSGI_TOY": "report"}
        assert read(environ=environ).toy == Toy("report", 7)
        assert "| `SIZE` | an integer, 1 or more | `3` | The size of the toy. |" in (
            settings_doc.render()
        )
    finally:
        Toy.forget()
    (mistake,) = mistakes(arguments={"TOY": {}})
    assert "section 'TOY' is not known" in mistake
    with pytest.raises(AttributeError, match="no section TOY"):
        read(environ={}).toy  # noqa: B018


def test_settings_are_a_value():
    assert Settings() == Settings(outbound=Outbound())
    assert Settings() != Settings(outbound=Outbound(mode="off"))
    assert copy.deepcopy(Settings()) == pickle.loads(pickle.dumps(Settings())) == Settings()
    assert "Outbound(mode='enforce'" in repr(Settings())
    with pytest.raises(TypeError, match="unknown sections: toys"):
        Settings(toys=None)


def test_the_settings_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "settings.md"
    assert settings_doc.main(["--check", str(page)]) == 0


def test_a_settings_page_that_is_not_current_is_found_out(tmp_path, capsys):
    page = tmp_path / "settings.md"
    page.write_text("old")
    assert settings_doc.main(["--check", str(page)]) == 1
    assert "make settings-doc" in capsys.readouterr().err
