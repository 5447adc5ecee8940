"""The instances of gunicorn in what is looked at: files, with the command lines that name them."""

from __future__ import annotations

import posixpath
from typing import Iterator, List, NamedTuple, Optional

from ..read import gunicorn, runners
from ..read.command import Command
from ..read.gunicorn import Gunicorn, Setting
from ..read.runner import Runner
from ..subject import Subject


class Instance(NamedTuple):
    """Settings, and what starts gunicorn with them, if that is known."""

    settings: Gunicorn
    runner: Optional[Runner]

    @property
    def in_container(self) -> bool:
        """Whether it runs in a container."""
        return self.runner is not None and self.runner.in_container


def instances(subject: Subject) -> List[Instance]:
    """Return an instance for each command that starts gunicorn, and for each file that none of
    them names.
    """
    if "gunicorn" not in subject.derived:
        subject.derived["gunicorn"] = list(_instances(subject))
    found: List[Instance] = subject.derived["gunicorn"]
    return found


def _instances(subject: Subject) -> Iterator[Instance]:
    used = []
    for runner in runners.of(subject):
        for command in runner.commands:
            if command.program == "gunicorn":
                file = _file(subject, command)
                used.append(file)
                yield Instance(_settings(file, runner, command), runner)
    for file in subject.gunicorn:
        if file not in used:
            yield Instance(file, _only_container(subject))


def _settings(file: Optional[Gunicorn], runner: Runner, command: Command) -> Gunicorn:
    environment = {**runner.environment, **command.environment}
    given: List[Setting] = [
        *gunicorn.from_environment(environment, command.location),
        *gunicorn.from_words(command.words, command.location),
    ]
    return (file or Gunicorn(command.location, [])).beside(given, command.location)


def _file(subject: Subject, command: Command) -> Optional[Gunicorn]:
    """Return the file that a command names; without one gunicorn.conf.py, as gunicorn does."""
    named = posixpath.basename(next(iter(command.files()), "gunicorn.conf.py"))
    named = named.partition(":")[2] or named  # python:..., file:...
    found = [each for each in subject.gunicorn if posixpath.basename(each.location.file) == named]
    return found[0] if len(found) == 1 else None


def _only_container(subject: Subject) -> Optional[Runner]:
    """Return the only container there is, if nothing else starts a server."""
    found = runners.of(subject)
    return found[0] if len(found) == 1 and found[0].in_container else None
