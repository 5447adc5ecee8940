"""uwsgi.ini as core/ini.c reads it, which is not as Python's configparser does.

A comment is a line that starts with `;` or `#`; what follows a value belongs to the value. The
first `=` splits. A key may be repeated. A section header ends one character before the end of its
line, whatever that character is.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Tuple

from . import uwsgi_magic

_BLANKS = " \t\r"


class Line(NamedTuple):
    """A line that sets something."""

    number: int
    key: str
    value: str  # `%d` and its like replaced
    raw: str
    resolved: bool  # False: it holds `%k` or another that is not known here
    section: str


def lines(text: str, magic: uwsgi_magic.Magic, section: str = "uwsgi") -> Iterator[Line]:
    """Yield the lines of a section that set something."""
    here = ""
    for number, raw, replaced, resolved in _replaced(text, magic):
        stripped = replaced.strip(_BLANKS)
        if stripped.startswith("["):
            here = stripped[1:-1]
        elif stripped and stripped[0] not in ";#" and here == section:
            key, _, value = stripped.partition("=")
            yield Line(
                number,
                key.rstrip(_BLANKS),
                value.lstrip(_BLANKS),
                raw.partition("=")[2].strip(_BLANKS),
                resolved,
                here,
            )


def sections(text: str) -> Iterator[Tuple[str, int]]:
    """Yield the names of the sections, as uWSGI understands them, with their lines."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(_BLANKS)
        if stripped.startswith("["):
            yield stripped[1:-1], number


def _replaced(text: str, magic: uwsgi_magic.Magic) -> Iterator[Tuple[int, str, str, bool]]:
    """Yield number, line, the line with its magic variables replaced, and whether all are known."""
    pending, start = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        start = start or number
        pending += line
        replaced, resolved, open_end = magic.replace(pending)
        if open_end:  # `%` before the line feed takes that away
            pending += "\n"
            continue
        yield start, pending, replaced, resolved
        pending, start = "", 0
    if pending:
        yield start, pending, pending.rstrip("\n"), True
