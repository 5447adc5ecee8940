"""What starts the servers of a subject, whatever the format it was found in."""

from __future__ import annotations

from typing import List

from ..subject import Subject
from . import systemd
from .command import Command
from .runner import Runner


def of(subject: Subject) -> List[Runner]:
    """Return what starts servers in all files that were read, in the order of their formats."""
    files = len(subject.sources), len(subject.units)
    if subject.derived.get("runners of") != files:
        subject.derived["runners of"] = files
        subject.derived["runners"] = _made(subject)
    found: List[Runner] = subject.derived["runners"]
    return found


def commands(subject: Subject) -> List[Command]:
    """Return the command lines that start servers, wherever they were found."""
    return [command for each in of(subject) for command in each.commands]


def _made(subject: Subject) -> List[Runner]:
    units = (each.runner() for each in systemd.services(subject.units))
    found: List[Runner] = [each for each in units if each is not None]
    for file in (*subject.manifests, *subject.composes, *subject.procfiles):
        found += file.runners()
    return found + [each.runner() for each in subject.dockerfiles]
