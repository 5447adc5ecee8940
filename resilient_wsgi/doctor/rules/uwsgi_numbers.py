"""Rules about numbers: what uWSGI reads of them, and which it refuses."""

from __future__ import annotations

import os
import re
from typing import Iterator, List, Tuple

from ..model import Evidence, Severity, at, rule
from ..read.uwsgi_options import Known
from ..subject import Subject
from ..uwsgi_config import Option
from .ini_edits import with_value
from .uwsgi_facts import brief

_NUMBER = re.compile(r"\s*([+-]?\d+)(.*)", re.DOTALL)
# units that say what the number means anyway, by the kind of option
_SECONDS = ("s", "sec", "secs", "second", "seconds")
_MEGABYTES = ("m", "mb", "mib")
_ELSEWHERE = ("log-slow", "log-big")  # U03
# where 0 does not mean off, but that nothing is served, or nothing is listened for
_NEVER_ZERO = ("processes", "listen", "buffer-size", "max-fd")
LARGEST_BUFFER = 65535
_SMALL = 1024  # below that a size in bytes, or a time with a unit, is far from what was meant
LONGEST_PATH = 102


@rule(
    "U02",
    Severity.ERROR,
    "uWSGI reads another number than is written",
    why=(
        "uWSGI takes the digits that a value starts with and ignores the rest. `harakiri = sixty` "
        "is 0, which is off; `reload-on-rss = 1G` is 1 MB, and workers are replaced all the time; "
        "`buffer-size = 32k` is 32 bytes, and each request is refused; `harakiri = 1m` is a "
        "second. Nothing is logged. A negative number ends uWSGI at startup."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nharakiri = 2m\nbuffer-size = 32k\n"},
    good={"uwsgi.ini": "[uwsgi]\nharakiri = 120\nworker-reload-mercy = 125\nbuffer-size = 32768\n"},
    fix="Write digits only, in the unit of the option: seconds, bytes, or megabytes for "
    "reload-on-rss, reload-on-as, limit-as and their relatives.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_set_int(), uwsgi_opt_set_64bit()",),
)
def number_with_more(subject: Subject) -> Iterator[Evidence]:
    """Find values of numeric options that are no plain number.

    A word is 0, which mostly means off: a warning, and an error where 0 cannot work. What follows
    numbers without changing them is one hint for a file.
    """
    for config in subject.uwsgi:
        ignored: List[Tuple[Option, str, str]] = []
        for option in config.options:
            known = option.known
            if known and known.is_number and option.resolved and option.name not in _ELSEWHERE:
                number, rest = _split(option.value)
                if number and _agrees(rest, known.kind):
                    ignored.append((option, number, rest))
                else:
                    yield from _read_as(option, known, number, rest)
        if ignored:
            yield _ignored(ignored)


def _split(value: str) -> Tuple[str, str]:
    """Return the number that a value starts with, as it is written, and what follows it."""
    found = _NUMBER.fullmatch(value)
    return (found[1], found[2].strip()) if found else ("", value.strip())


def _read_as(option: Option, known: Known, number: str, rest: str) -> Iterator[Evidence]:
    shown = f"{option.name} = {brief(option)}"
    if number.startswith("-") and known.kind == "int":
        yield at(option, f"{shown} is negative: uWSGI exits at startup")
    elif rest and number:
        severity = Severity.ERROR if int(number) < _SMALL else Severity.WARNING
        yield at(option, f"{shown} is {number} to uWSGI", severity=severity)
    elif rest:
        yield _zero(option, known, shown)


def _ignored(found: List[Tuple[Option, str, str]]) -> Evidence:
    """Return one hint about all values behind which uWSGI ignores something."""
    option, number, rest = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return at(
        option,
        f"{option.name} = {number}: {rest[:40]!r} belongs to the value, and uWSGI ignores it{more}",
        fix="Put comments on lines of their own, and leave units out.",
        severity=Severity.HINT,
        edits=tuple(
            edit
            for each, value, text in found
            for edit in with_value(each, value, text if text.startswith((";", "#")) else "")
        ),
    )


def _zero(option: Option, known: Known, shown: str) -> Evidence:
    if "immediate" in known.flags and option.value.startswith(("%(", "$(", "@(")):
        message = (
            f"{shown} is 0 to uWSGI, which reads {option.name} before it replaces placeholders"
        )
        return at(option, message, fix=f"Write the number: {option.name} = 1024.")
    severity = Severity.ERROR if known.canonical in _NEVER_ZERO else Severity.WARNING
    return at(option, f"{shown} is 0 to uWSGI", severity=severity)


def _agrees(rest: str, kind: str) -> bool:
    """Return whether what follows a number changes nothing of its meaning: a comment, or the unit
    that the number has anyway.
    """
    if rest.startswith((";", "#")):
        return True
    return rest.lower() in (_MEGABYTES if kind == "megabytes" else _SECONDS)


@rule(
    "U88",
    Severity.ERROR,
    "chmod-socket is no mode of three digits: uWSGI refuses to start",
    why=(
        "`chmod-socket` takes exactly three octal digits, or nothing, which is 666. With `0660`, "
        '`true` or `u+rw` uWSGI exits at startup with "invalid chmod value". The same holds for '
        "`logfile-chmod`."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nsocket = /run/app/uwsgi.sock\nchmod-socket = 0660\n"},
    good={"uwsgi.ini": "[uwsgi]\nsocket = /run/app/uwsgi.sock\nchmod-socket = 660\n"},
    fix="Write three digits: chmod-socket = 660.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_chmod_socket()",),
)
def invalid_mode(subject: Subject) -> Iterator[Evidence]:
    """Find modes that uWSGI does not take."""
    for config in subject.uwsgi:
        for option in config.all("chmod-socket", "logfile-chmod"):
            if option.certain and option.resolved and not _is_mode(option):
                mode = re.fullmatch("0([0-7]{3})", option.value)
                yield at(
                    option,
                    f"{option.name} = {brief(option)}: uWSGI exits at startup",
                    edits=with_value(option, mode[1]) if mode else (),
                )


def _is_mode(option: Option) -> bool:
    if option.canonical == "chmod-socket" and option.value in {"", "1"}:
        return True
    return bool(re.fullmatch("[0-7]{3}", option.value))


@rule(
    "U89",
    Severity.ERROR,
    "the path of a UNIX socket is longer than 102 characters: uWSGI refuses to start",
    why=(
        "The kernel's address of a UNIX socket has room for 107 characters; uWSGI takes 102, and "
        'exits at startup with "invalid socket name" if there are more.'
    ),
    bad={"uwsgi.ini": "[uwsgi]\nsocket = /srv/" + "very-long-name/" * 7 + "uwsgi.sock\n"},
    good={"uwsgi.ini": "[uwsgi]\nsocket = /run/app/uwsgi.sock\n"},
    fix="Move the socket to a shorter path below /run.",
    sources=("uWSGI 2.0.31, core/socket.c: bind_to_unix()",),
)
def path_too_long(subject: Subject) -> Iterator[Evidence]:
    """Compare the length of each path with uWSGI's limit."""
    for config in subject.uwsgi:
        for socket in config.sockets():
            length = len(os.fsencode(socket.address))
            if socket.is_unix and socket.option.resolved and length > LONGEST_PATH:
                yield at(
                    socket,
                    f"the path has {length} bytes, and uWSGI takes {LONGEST_PATH}: it exits at "
                    "startup",
                )


@rule(
    "U91",
    Severity.WARNING,
    "buffer-size is above 65535, the most that uWSGI takes",
    why=(
        "The headers of a request must fit into `buffer-size` bytes. It is a number of 16 bits: a "
        "larger one is cut to 65535 (in old versions to what is left of 16 bits, 0 for 65536). "
        "Requests with larger headers are refused all the same."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nbuffer-size = 131072\n"},
    good={"uwsgi.ini": "[uwsgi]\nbuffer-size = 65535\n"},
    fix="Set buffer-size = 65535 at most, and have the router limit the headers.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_set_16bit()",),
)
def buffer_too_large(subject: Subject) -> Iterator[Evidence]:
    """Compare buffer-size with 16 bits."""
    for config in subject.uwsgi:
        option, size = config.last("buffer-size"), config.number("buffer-size")
        if option and size is not None and size > LARGEST_BUFFER:
            yield at(option, f"buffer-size = {size} is {LARGEST_BUFFER} to uWSGI")


@rule(
    "U92",
    Severity.ERROR,
    "buffer-size is too small for the headers of a usual request",
    why=(
        "uWSGI refuses a request whose variables do not fit into `buffer-size` bytes (4096 by "
        "default) and closes the connection: nginx answers 502. The variables that nginx adds "
        "alone take about 500 bytes; cookies and tokens of single sign-on easily take 4 KB."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nbuffer-size = 64\n"},
    good={"uwsgi.ini": "[uwsgi]\nbuffer-size = 32768\n"},
    fix="Set buffer-size = 32768.",
    sources=(
        "uWSGI 2.0.31, core/protocol.c: uwsgi_proto_uwsgi_parser()",
        "unbit/uwsgi#1831",
    ),
)
def buffer_too_small(subject: Subject) -> Iterator[Evidence]:
    """Compare buffer-size with what any request needs; a warning below the default."""
    for config in subject.uwsgi:
        option, size = config.last("buffer-size"), config.number("buffer-size")
        if option and size is not None and 0 <= size < 4096:
            yield at(
                option,
                f"buffer-size = {size}: requests with more than {size} bytes of headers are "
                "refused",
                severity=Severity.ERROR if size < 512 else Severity.WARNING,
            )
