"""What starts the servers of a subject, whatever the format it was found in."""

from __future__ import annotations

import posixpath
from typing import List, Optional

from ..subject import Subject
from . import systemd
from .command import Command
from .runner import Runner


def of(subject: Subject) -> List[Runner]:
    """Return what starts servers in all files that were read, in the order of their formats."""
    files = len(subject.sources), len(subject.units), subject.live is not None
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
    images = {posixpath.normpath(each.file): each.runner() for each in subject.dockerfiles}
    for file in (*subject.manifests, *subject.procfiles):
        found += file.runners()
    for compose in subject.composes:
        for runner, dockerfile in zip(compose.runners(), compose.dockerfiles()):
            _from_image(runner, images.get(dockerfile))
            found.append(runner)
    found += images.values()
    running = subject.live.runner if subject.live else None
    return [*found, running] if running else found


def _from_image(runner: Runner, image: Optional[Runner]) -> None:
    """Fill in what a service takes from the image that is built for it."""
    if image is not None:
        runner.commands = runner.commands or image.commands
        runner.stop_signal = runner.stop_signal or image.stop_signal
        runner.image = runner.image or image.image
        runner.environment = {**image.environment, **runner.environment}
