"""uWSGI options whose value or name does not mean what it says."""

from __future__ import annotations

from typing import Iterator

from ..model import Edit, Evidence, Severity, at, rule
from ..read.uwsgi_options import shipped
from ..subject import Subject
from ..uwsgi_config import Option, is_true

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
    fix="Put the comment on a line of its own.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_true", "uWSGI 2.0.31, core/ini.c"),
)
def boolean_with_a_comment(subject: Subject) -> Iterator[Evidence]:
    """Find booleans that start with a false word and are true."""
    for config in subject.uwsgi:
        for option in config.options:
            word, more = _first_word(option)
            if option.known and option.known.is_boolean and word in _FALSE_WITH_MORE:
                message = (
                    f"{option.name} = {option.value} is true: the text is not exactly {word!r}"
                )
                yield at(option, message, edits=_comment_above(option, word, more))


def _first_word(option: Option) -> tuple[str, str]:
    if not is_true(option.value):
        return "", ""
    word, _, more = option.value.replace(";", " ;").replace("#", " #").partition(" ")
    return word.strip().lower(), more.strip()


def _comment_above(option: Option, word: str, more: str) -> tuple[Edit, ...]:
    if not more.startswith((";", "#")):
        return ()
    place = option.location
    return (Edit(place.file, place.line, f"{more}\n{option.name} = {word}"),)


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
    """Find options that no version and no plugin of uWSGI has."""
    for config in subject.uwsgi:
        used = " ".join(option.raw for option in config.options)
        for option in config.options:
            if option.known or f"%({option.name})" in used:
                continue
            near = _nearest(option.name)
            if config.on("strict") or near:
                yield at(
                    option,
                    f"uWSGI has no option {option.name}{near and f'; did you mean {near}?'}",
                    severity=Severity.ERROR if config.on("strict") else None,
                )


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, shipped().by_name, n=1, cutoff=0.8)
    return close[0] if close else ""
