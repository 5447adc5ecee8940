"""Procfiles: a name and a command a line, run by a shell."""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple

from ..model import Location
from ..subject import Source, Subject
from . import command
from .lines import Lines
from .runner import PROCESS, Runner
from .uwsgi_export import Open

_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*)$")


class NotAProcfile(ValueError):
    """The text is no Procfile."""


class Process(NamedTuple):
    """A line of a Procfile."""

    name: str
    line: str
    location: Location

    def runner(self, file: str) -> Runner:
        """Return how it starts its server."""
        runner = Runner(PROCESS, self.name, self.location)
        runner.commands = command.commands(self.line, self.location, file)
        return runner


class Procfile:
    """The processes of a Procfile by name."""

    def __init__(self, lines: Lines, processes: Dict[str, Process]) -> None:
        self.lines = lines
        self.file = lines.file
        self.processes = processes

    def __repr__(self) -> str:
        return f"<Procfile {self.file}>"

    def runners(self) -> List[Runner]:
        """Return how each line starts its server."""
        return [each.runner(self.file) for each in self.processes.values()]


def recognises(name: str, text: str) -> bool:
    """Return whether it is a Procfile."""
    del text
    return name == "Procfile" or name.startswith("Procfile.")


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Add its processes, or say why it was not looked at."""
    del open_file
    try:
        subject.procfiles.append(parse(Lines(source.file, source.text)))
    except NotAProcfile as error:
        subject.skip(source.file, str(error))


def parse(lines: Lines) -> Procfile:
    """Return the processes in a text. Raises `NotAProcfile`."""
    if lines.too_long:
        raise NotAProcfile(lines.too_long)
    found: Dict[str, Process] = {}
    for number, line in enumerate(lines.text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = _LINE.match(line.rstrip())
        if parts is None:
            msg = f"line {number}: not `name: command`"
            raise NotAProcfile(msg)
        found[parts[1]] = Process(parts[1], parts[2], lines.at(number))
    return Procfile(lines, found)
