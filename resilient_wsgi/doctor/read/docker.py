"""Dockerfiles: the last stage, whose ENTRYPOINT and CMD start the server."""

from __future__ import annotations

import json
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..model import Location
from ..subject import Source, Subject
from . import command
from .lines import Lines
from .runner import IMAGE, Fact, Runner
from .uwsgi_export import Open

_INSTRUCTION = re.compile(r"^\s*([A-Za-z]+)\s+(.*)$", re.DOTALL)
_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_PAIR = re.compile(r"""([A-Za-z_]\w*)=("(?:\\.|[^"\\])*"|'[^']*'|(?:\\.|\S)*)""")
_NAME = re.compile(r"(Dockerfile|Containerfile)([.-]|$)|.*\.(Docker|Container)file$", re.IGNORECASE)
# each line in one way only: else many blank ones take for ever
_IS_AN_IMAGE = re.compile(r"(?:[^\S\n]*(?:#[^\n]*)?\n|ARG [^\n]*\n)*FROM \S+")
_NAMES = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


class NotADockerfile(ValueError):
    """The text is no Dockerfile."""


class Instruction(NamedTuple):
    """An instruction and what follows it, its continued lines joined."""

    name: str
    text: str
    location: Location

    def words(self) -> Optional[List[str]]:
        """Return the list of the exec form (`["uwsgi", "--ini"]`), None in the shell form."""
        text = self.text.strip()
        if not text.startswith("["):
            return None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return [str(each) for each in found] if isinstance(found, list) else None


class Dockerfile:
    """A Dockerfile; what counts is its last stage, with the stages that that is built on."""

    def __init__(self, lines: Lines, instructions: List[Instruction]) -> None:
        self.lines = lines
        self.file = lines.file
        self.instructions = instructions

    def __repr__(self) -> str:
        return f"<Dockerfile {self.file}>"

    def last(self, name: str) -> Optional[Instruction]:
        """Return the instruction that counts in the image, None without one."""
        found = [each for each in self.last_stage() if each.name == name]
        return found[-1] if found else None

    def last_stage(self) -> List[Instruction]:
        """Return the instructions of the last stage, after those of the stages it is made from."""
        stages, names = self._stages()
        found: List[Instruction] = []
        wanted = len(stages) - 1
        while 0 <= wanted < len(stages):
            stage = stages[wanted]
            found = [*stage, *found]
            base = _base(stage[0])
            before = [n for n, name in enumerate(names[:wanted]) if name and name == base]
            wanted = before[-1] if before else -1
        return found

    @property
    def base(self) -> str:
        """The image that the last stage is built on."""
        stage = self.last_stage()
        return _base(stage[0]) if stage else ""

    def runner(self) -> Runner:
        """Return how the image starts and stops its server."""
        entry, start = self.last("ENTRYPOINT"), self._command()
        at = (start or entry or self.instructions[0]).location
        runner = Runner(IMAGE, self.file, at, image=self.base)
        runner.commands = _commands(entry, start, self.file, self._shell())
        signal = self.last("STOPSIGNAL")
        runner.stop_signal = Fact(signal.text.strip(), signal.location) if signal else None
        for each in self.last_stage():
            if each.name == "ENV":
                runner.environment.update(_environment(each.text))
        return runner

    def _command(self) -> Optional[Instruction]:
        """Return the CMD that counts: an ENTRYPOINT in a later stage forgets those before it."""
        found: Optional[Instruction] = None
        for each in self.last_stage():
            if each.name == "CMD":
                found = each
        return found

    def _shell(self) -> str:
        """Return the shell that reads commands which are not lists."""
        words = (self.last("SHELL") or Instruction("", "", Location(""))).words()
        if words:
            return words[0].rpartition("/")[2]
        return "ash" if "alpine" in self.base else "sh"

    def _stages(self) -> Tuple[List[List[Instruction]], List[str]]:
        stages: List[List[Instruction]] = []
        names: List[str] = []
        for each in self.instructions:
            if each.name == "FROM":
                stages.append([])
                found = re.search(r"\s+as\s+(\S+)\s*$", each.text, re.IGNORECASE)
                names.append(found[1].lower() if found else "")
            if stages:
                stages[-1].append(each)
        return stages, names


def recognises(name: str, text: str) -> bool:
    """Return whether it is a Dockerfile."""
    return bool(_NAME.match(name)) or ("." not in name and bool(_IS_AN_IMAGE.match(text)))


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Add the image, or say why it was not looked at."""
    del open_file
    try:
        subject.dockerfiles.append(parse(Lines(source.file, source.text)))
    except NotADockerfile as error:
        subject.skip(source.file, str(error))


def parse(lines: Lines) -> Dockerfile:
    """Return the instructions in a text. Raises `NotADockerfile`."""
    if lines.too_long:
        raise NotADockerfile(lines.too_long)
    found = []
    for number, text in _logical_lines(lines.text):
        parts = _INSTRUCTION.match(text)
        if parts is None or parts[1].upper() not in _NAMES:
            msg = f"line {number}: not an instruction of a Dockerfile"
            raise NotADockerfile(msg)
        found.append(Instruction(parts[1].upper(), parts[2], lines.at(number)))
    if not any(each.name == "FROM" for each in found):
        msg = "not a Dockerfile: it has no FROM"
        raise NotADockerfile(msg)
    return Dockerfile(lines, found)


def _base(instruction: Instruction) -> str:
    words = [each for each in instruction.text.split() if not each.startswith("--")]
    return words[0].lower() if words else ""


def _commands(
    entry: Optional[Instruction], start: Optional[Instruction], file: str, shell: str
) -> List[command.Command]:
    if entry is not None:
        words = entry.words()
        if words is None:  # the shell form of ENTRYPOINT ignores CMD
            return command.commands(entry.text, entry.location, file, shell)
        arguments = (start.words() or ["/bin/" + shell, "-c", start.text]) if start else []
        return command.command([*words, *arguments], (start or entry).location, file)
    if start is None:
        return []
    words = start.words()
    if words is None:
        return command.commands(start.text, start.location, file, shell)
    return command.command(words, start.location, file)


def _environment(text: str) -> Dict[str, str]:
    pairs = {name: value.strip("\"'") for name, value in _PAIR.findall(text)}
    if pairs:
        return pairs
    name, _, value = text.strip().partition(" ")  # ENV NAME value
    return {name: value.strip()}


def _logical_lines(text: str) -> List[Tuple[int, str]]:
    found: List[Tuple[int, str]] = []
    parts: List[str] = []
    start, until = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if until:  # within a heredoc
            until = "" if stripped == until else until
            continue
        if stripped.startswith("#") or (not stripped and not parts):
            continue
        start = start if parts else number
        parts.append(stripped.removesuffix("\\"))
        if stripped.endswith("\\"):
            continue
        joined = " ".join(parts)
        heredoc = (
            _HEREDOC.search(joined) if joined[:4].upper() in ("RUN ", "COPY", "ADD ") else None
        )
        until = heredoc[2] if heredoc else ""
        found.append((start, joined))
        parts = []
    if parts:
        found.append((start, " ".join(parts)))
    return found
