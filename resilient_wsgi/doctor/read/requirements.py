"""Versions that a project pins: requirements files."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..model import Location
from ..subject import Source, Subject
from .lines import Lines
from .uwsgi_export import Open

_FILE = re.compile(r"^(requirements|constraints)[\w.-]*\.(txt|in)$")
_LINE = re.compile(
    r"^\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(?:(==|===)\s*([\w.]+))?", re.MULTILINE
)
MOST = 5000


class Pin(NamedTuple):
    """A package that is asked for; its version is `""` if there is no exact one."""

    name: str  # normalised: lower case, dashes
    version: str
    location: Location


def recognises(name: str, text: str) -> bool:
    """Return whether it is a requirements file."""
    del text
    return _FILE.match(name) is not None


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Add its packages; it may include others, which are not followed."""
    del open_file
    lines = Lines(source.file, source.text)
    for number, line in enumerate(source.text.split("\n")[:MOST], 1):
        found = None if line.lstrip().startswith(("#", "-")) else _LINE.match(line[:300])
        if found:
            name = re.sub(r"[-_.]+", "-", found[1]).lower()
            subject.pins.append(Pin(name, found[3] or "", lines.at(number)))
