"""uWSGI options whose value or name does not mean what it says."""

from __future__ import annotations

import re
from typing import Iterator, Set

from ..model import Evidence, Severity, at, rule
from ..read.uwsgi_options import shipped
from ..subject import Subject
from ..uwsgi_config import Option, UwsgiConfig, is_true

_PLACEHOLDER = re.compile(r"%\(([^()]*)\)")
_FALSE_WITH_MORE = ("false", "off", "no", "0")


@rule(
    "U01",
    Severity.ERROR,
    "a boolean that says false and more is true",
    why=(
        "uWSGI knows comments only at the start of a line. What follows a value belongs to it, and "
        "a boolean option is true for every value except `false`, `off`, `no` and `0`. So "
        "`lazy-apps = false ; keep prefork` turns lazy-apps on."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlazy-apps = false ; keep prefork\n"},
    good={"uwsgi.ini": "[uwsgi]\n; keep prefork\nlazy-apps = false\n"},
    fix="Put the comment on a line of its own; then what is written counts, and true is what ran.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_true", "uWSGI 2.0.31, core/ini.c"),
)
def boolean_with_a_comment(subject: Subject) -> Iterator[Evidence]:
    """Find booleans that start with a false word and are true."""
    for config in subject.uwsgi:
        for option in config.options:
            word = _first_word(option)
            if option.known and option.known.is_boolean and word in _FALSE_WITH_MORE:
                # no edit: true is what ran so far, and only the author knows which is meant
                yield at(option, f"{option.name} = {word} and more is true: only {word} is false")


def _first_word(option: Option) -> str:
    """Return the word that a true value starts with, `""` of a false one."""
    if is_true(option.value):
        return re.split("[ ;#]", option.value, maxsplit=1)[0].lower()
    return ""


@rule(
    "U04",
    Severity.WARNING,
    "uWSGI has no such option",
    why=(
        "Without `strict`, uWSGI takes an option that it does not know for a placeholder and says "
        "nothing: `process = 4` starts one worker, `thread = 8` one thread. With `strict` it "
        "refuses to start. docker-mailman ran for years with `process =` for `processes =`."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nprocess = 4\n"},
    good={"uwsgi.ini": "[uwsgi]\nprocesses = 4\n"},
    fix="Correct the name. For a placeholder of your own write `set-placeholder = name=value`.",
    sources=(
        "uWSGI 2.0.31, core/config.c: uwsgi_opt_get",
        "maxking/docker-mailman#428",
        "unbit/uwsgi#1576, #2320, #2656, #2709",
    ),
)
def unknown_option(subject: Subject) -> Iterator[Evidence]:
    """Find options that no version and no plugin of uWSGI has. With `strict` that ends uWSGI, even
    for a placeholder that is used.
    """
    for config in subject.uwsgi:
        strict = config.on("strict")
        placeholders = _used_as_placeholders(config)
        used = set() if strict else placeholders
        declared = {each.value.partition("=")[0] for each in config.all("declare-option")}
        for option in config.options:
            if option.known or option.placeholder or option.name in used | declared:
                continue
            if option.name not in subject.machine.uwsgi_options():
                yield _unknown(option, strict=strict, used=option.name in placeholders)


def _unknown(option: Option, *, strict: bool, used: bool) -> Evidence:
    if used:
        message = f"uWSGI has no option {option.name}, and with strict it is no placeholder, either"
        fix = f"Write set-placeholder = {option.name}=..."
        return at(option, message, fix=fix, severity=Severity.ERROR)
    near = shipped().nearest(option.name)
    more = f"; did you mean {near}?" if near else ", and nothing uses it as a placeholder"
    meant = near or " " in option.name  # no placeholder has a blank in its name
    severity = Severity.ERROR if strict else Severity.WARNING if meant else Severity.HINT
    return at(option, f"uWSGI has no option {option.name}{more}", severity=severity)


def _used_as_placeholders(config: UwsgiConfig) -> Set[str]:
    values = " ".join(option.raw for option in config.options)
    return {word for found in _PLACEHOLDER.findall(values) for word in found.split(" ")}
