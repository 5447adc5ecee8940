"""What uWSGI's parser of ini files makes of them, where that is not what is written."""

from __future__ import annotations

import re
from typing import Iterator, Tuple

from ..model import Edit, Evidence, Location, Severity, at, rule
from ..read import uwsgi_ini
from ..subject import Source, Subject
from ..uwsgi_config import Option

_MAGIC = "vhtTVkuUgGbijIJodspcenxODSPCENX0123456789["
_VARIABLE = re.compile(r"%(.)", re.DOTALL)
_ENCODED = re.compile(r"://.*%[0-9A-Fa-f]{2}")
_BOM = "\ufeff"


@rule(
    "U94",
    Severity.ERROR,
    "uWSGI does not see the section [uwsgi], and ignores what is in it",
    why=(
        "The name of a section ends one character before the end of its line, whatever that is: "
        "`[uwsgi] ; production` is the section `uwsgi] ; productio`. And a byte order mark before "
        "`[` makes the line an option. uWSGI prints one warning, and starts with its defaults: no "
        "master, one worker, no app."
    ),
    bad={"uwsgi.ini": "[uwsgi] ; production\nmaster = true\n"},
    good={"uwsgi.ini": "; production\n[uwsgi]\nmaster = true\n"},
    fix="Let the line be [uwsgi] and nothing else, in a file without a byte order mark.",
    sources=("uWSGI 2.0.31, core/ini.c: uwsgi_ini_config", "tried with uWSGI 2.0.31"),
)
def section_not_seen(subject: Subject) -> Iterator[Evidence]:
    """Find heads of [uwsgi] that are none to uWSGI, in files that have no other."""
    for source in subject.sources.values():
        if source.kind == "uwsgi":
            heads = dict(uwsgi_ini.sections(source.text))
            if "uwsgi" not in heads:
                yield from _marked(source)
                for name, line in heads.items():
                    if name.startswith("uwsgi]"):
                        message = f"to uWSGI this is the section {name!r}, not 'uwsgi'"
                        yield at(_line(source, line), message)


def _marked(source: Source) -> Iterator[Evidence]:
    if source.text.startswith(f"{_BOM}[uwsgi]"):
        yield at(_line(source, 1), "a byte order mark stands before [uwsgi]")


def _line(source: Source, line: int) -> Location:
    return Location(source.file, line, source.lines()[line - 1])


@rule(
    "U95",
    Severity.ERROR,
    "a placeholder leads to itself: uWSGI hangs at startup",
    why=(
        "uWSGI replaces placeholders until there are none left. If a value comes back in its own "
        "replacement it grows for ever: uWSGI neither starts nor ends, with one processor busy."
    ),
    bad={"uwsgi.ini": "[uwsgi]\npath = /srv:%(path)\n"},
    good={"uwsgi.ini": "[uwsgi]\nset-placeholder = base=/srv\npythonpath = %(base)/lib\n"},
    fix="Give the placeholder another name than the option that uses it.",
    sources=("uWSGI 2.0.31, core/utils.c: uwsgi_apply_config_pass", "tried with uWSGI 2.0.31"),
)
def placeholder_of_itself(subject: Subject) -> Iterator[Evidence]:
    """Find values whose replacement has no end."""
    for config in subject.uwsgi:
        for option in config.options:
            if option.endless:
                yield at(option, f"{option.name} = {option.raw} has no end")


@rule(
    "U96",
    Severity.ERROR,
    "a file includes itself: uWSGI crashes at startup",
    why=(
        "uWSGI reads at once what `ini`, `include` and their like name, and does not remember what "
        "it is reading: a file that includes itself, directly or through another, ends in a stack "
        "overflow (SIGSEGV)."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nini = uwsgi.ini\n"},
    good={"uwsgi.ini": "[uwsgi]\nini = :base\n[base]\nlisten = 1024\n"},
    fix="Take the include out; to reuse a part of the file, give it a section: ini = :name.",
    sources=("uWSGI 2.0.31, core/ini.c: uwsgi_ini_config", "tried with uWSGI 2.0.31"),
)
def include_of_itself(subject: Subject) -> Iterator[Evidence]:
    """Find includes of what is being read."""
    for config in subject.uwsgi:
        for option in config.loops:
            yield at(option, f"{option.name} = {option.value} is being read already")


@rule(
    "U97",
    Severity.WARNING,
    "uWSGI takes % and a letter for a variable of its own",
    why=(
        "`%d`, `%n`, `%0` and others are uWSGI's magic variables, replaced in the file before it "
        "is parsed; `%` with any other letter is removed. `log-date = %Y-%m-%d` prints the folder "
        "of the file instead of a day, and a password `p%40ss` in a URL loses its `%4`."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlog-date = %Y-%m-%d %H:%M:%S\n"},
    good={"uwsgi.ini": "[uwsgi]\nlog-date = %%Y-%%m-%%d %%H:%%M:%%S\n"},
    fix="Double it: %% is one %.",
    sources=("uWSGI 2.0.31, core/utils.c: magic_sub", "tried with uWSGI 2.0.31"),
)
def percent_not_doubled(subject: Subject) -> Iterator[Evidence]:
    """Find `%` that is meant as such: with a letter that is no variable, in a format of a date, and
    in a URL.
    """
    for config in subject.uwsgi:
        for option in config.options:
            letters = _replaced(option)
            if letters:
                shown = ", ".join(f"%{letter}" for letter in letters)
                yield at(option, f"uWSGI replaces {shown}", edits=_doubled(option, letters))


def _replaced(option: Option) -> Tuple[str, ...]:
    every = option.canonical == "logdate" or _ENCODED.search(option.raw)
    kept = "%(" if every else f"%({_MAGIC}"
    return tuple(each for each in dict.fromkeys(_VARIABLE.findall(option.raw)) if each not in kept)


def _doubled(option: Option, letters: Tuple[str, ...]) -> Tuple[Edit, ...]:
    place = option.location
    text = _VARIABLE.sub(lambda each: f"%{each[0]}" if each[1] in letters else each[0], place.text)
    return (Edit(place.file, place.line, text),)
