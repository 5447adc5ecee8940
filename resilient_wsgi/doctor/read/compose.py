"""Compose files of Docker."""

from __future__ import annotations

import posixpath
import re
from typing import Dict, List, Optional

from ..subject import Source, Subject
from . import command
from .lines import Lines
from .runner import SERVICE, Fact, Runner
from .uwsgi_export import Open
from .yaml_nodes import Node, NotYaml, documents

DEFAULT_GRACE_SECONDS = 10.0  # stop_grace_period, Compose specification
DEFAULT_SHM_BYTES = 64 << 20  # of Docker
_IS_COMPOSE = re.compile(r"^services\s*:", re.MULTILINE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SPANS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d{1,18})\s*(b|k|kb|m|mb|g|gb)?", re.IGNORECASE)


class Compose:
    """The services of a file."""

    def __init__(self, lines: Lines, root: Node) -> None:
        self.lines = lines
        self.file = lines.file
        self.root = root
        self.services: Dict[str, Node] = dict(root.get("services").items())

    def __repr__(self) -> str:
        return f"<Compose {self.file}>"

    def runners(self) -> List[Runner]:
        """Return how each service starts and stops its server."""
        return [self._runner(name, node) for name, node in self.services.items()]

    def dockerfiles(self) -> List[str]:
        """Return the path of the Dockerfile that each service is built from, `""` without one."""
        found = []
        for node in self.services.values():
            build = node.get("build")
            context = build.get("context").text or "." if build.is_mapping else build.text
            name = build.get("dockerfile").text or "Dockerfile"
            path = posixpath.join(posixpath.dirname(self.file), context, name)
            found.append(posixpath.normpath(path) if build else "")
        return found

    def _runner(self, name: str, node: Node) -> Runner:
        runner = Runner(SERVICE, name, node.location, image=node.get("image").text)
        runner.commands = self._commands(node)
        runner.stop_signal = _text(node.get("stop_signal"))
        grace = node.get("stop_grace_period")
        runner.stop_grace = (
            _known(grace, seconds(grace.text))
            if grace
            else Fact(DEFAULT_GRACE_SECONDS, runner.location, given=False)
        )
        memory = node.get("deploy", "resources", "limits", "memory") or node.get("mem_limit")
        runner.memory_bytes = _known(memory, size_bytes(memory.text))
        cpus = node.get("deploy", "resources", "limits", "cpus") or node.get("cpus")
        runner.cpus = _known(cpus, cpus.number())
        runner.descriptors = _descriptors(node)
        shm = node.get("shm_size")
        runner.shm_bytes = (
            _known(shm, size_bytes(shm.text))
            if shm
            else Fact(DEFAULT_SHM_BYTES, runner.location, given=False)
        )
        runner.sysctls = _pairs(node.get("sysctls"))
        environment = _pairs(node.get("environment"))
        runner.environment = {key: fact.value for key, fact in environment.items()}
        runner.environment_whole = not node.get("env_file")
        return runner

    def _commands(self, node: Node) -> List[command.Command]:
        entry, start = node.get("entrypoint"), node.get("command")
        at = (start or entry or node).location
        words: List[str] = []
        for each in (entry, start):
            # Compose splits a text as a shell would, but no shell runs it
            words += each.words() if each.is_sequence else command.split(each.text)
        return command.command(words, at, self.file)


def recognises(name: str, text: str) -> bool:
    """Return whether it is a compose file."""
    return name.endswith((".yaml", ".yml")) and bool(_IS_COMPOSE.search(text))


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Add its services, or say why it was not looked at."""
    del open_file
    try:
        subject.composes.append(parse(Lines(source.file, source.text)))
    except NotYaml as error:
        subject.skip(source.file, str(error))


def parse(lines: Lines) -> Compose:
    """Return the services in a text. Raises `NotYaml`."""
    found = documents(lines)
    if not found or not found[0].is_mapping:
        msg = "not a compose file: it has no services"
        raise NotYaml(msg)
    return Compose(lines, found[0])


def seconds(text: str) -> Optional[float]:
    """Return a duration in seconds (`1m30s`), None if it is none."""
    parts = _SPAN.findall(text)
    if not parts or _SPAN.sub("", text).strip():
        return None
    return sum(float(number) * _SPANS[unit] for number, unit in parts)


def size_bytes(text: str) -> Optional[int]:
    """Return a size in bytes (`64m`, `1gb`, base 1024), None if it is none."""
    found = _SIZE.fullmatch(text)
    return int(found[1]) << (10 * " kmg".index((found[2] or " ")[0].lower().replace("b", " "))) \
        if found else None  # fmt: skip


def _text(node: Node) -> Optional[Fact[str]]:
    return Fact(node.text, node.location) if node.text else None


def _known(node: Node, value: Optional[float]) -> Optional[Fact]:  # type: ignore[type-arg]
    return Fact(value, node.location) if node and value is not None else None


def _descriptors(node: Node) -> Optional[Fact[int]]:
    limit = node.get("ulimits", "nofile")
    limit = limit.get("soft") if limit.is_mapping else limit
    return Fact(int(limit.text), limit.location) if limit.text.isdigit() else None


def _pairs(node: Node) -> Dict[str, Fact[str]]:
    """Return what is written as a mapping, or as a list of `KEY=value`."""
    if node.is_mapping:
        return {key: Fact(value.text, value.location) for key, value in node.items()}
    pairs = [(each.text.partition("="), each) for each in node.each()]
    return {key: Fact(value, each.location) for (key, equals, value), each in pairs if equals}
