"""Kubernetes manifests: the containers of anything that has pods, and the files in ConfigMaps."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Optional

from ..subject import Source, Subject
from . import command
from .lines import Lines
from .runner import CONTAINER, Fact, Runner
from .uwsgi_export import Open
from .yaml_nodes import Node, NotYaml, documents

DEFAULT_GRACE_SECONDS = 30.0  # terminationGracePeriodSeconds, PodSpec v1
_POD_AT = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
_POD_IN_TEMPLATE = ("spec", "template", "spec")
_MEMORY = re.compile(r"(\d{1,18}(?:\.\d+)?)([KMGTPE]i|[mkMGTPE])?")
_MOST_DOCUMENTS = 2000
_IS_A_MANIFEST = re.compile(r"""^\s*["']?apiVersion["']?\s*:""", re.MULTILINE)


class Container:
    """A container of a pod."""

    def __init__(self, manifest: str, kind: str, owner: str, pod: Node, node: Node) -> None:
        self.manifest = manifest
        self.kind = kind
        self.owner = owner
        self.pod = pod
        self.node = node

    def __repr__(self) -> str:
        return f"<Container {self.name} of {self.owner}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.get("name").text

    def probe(self, kind: str) -> Node:
        """Return `liveness`, `readiness` or `startup` probe."""
        return self.node.get(f"{kind}Probe")

    def runner(self) -> Runner:
        """Return how it starts and stops its server.

        Without a command that is the image's: the commands are empty then.
        """
        name = f"{self.owner}/{self.name}" if self.owner else self.name
        runner = Runner(CONTAINER, name, self.node.location, image=self.node.get("image").text)
        at = self.node.get("command") or self.node.get("args") or self.node
        words = [each.text for key in ("command", "args") for each in self.node.get(key).each()]
        runner.commands = command.command(words, at.location, self.manifest)
        runner.stop_grace = self._grace(runner)
        memory = self.node.get("resources", "limits", "memory")
        runner.memory_bytes = _fact(memory, memory_bytes(memory.text))
        cpus = self.node.get("resources", "limits", "cpu")
        runner.cpus = _fact(cpus, cores(cpus.text))
        runner.shm_bytes = self._shm()
        sysctls = self.pod.get("securityContext", "sysctls").each()
        for each in (each for each in sysctls if each.get("name")):
            runner.sysctls[each.get("name").text] = Fact(each.get("value").text, each.location)
        runner.environment = self._environment()
        runner.environment_whole = not self.node.get("envFrom")
        return runner

    def _grace(self, runner: Runner) -> Optional[Fact[float]]:
        node = self.pod.get("terminationGracePeriodSeconds")
        if not node:
            return Fact(DEFAULT_GRACE_SECONDS, runner.location, given=False)
        return _fact(node, node.number())

    def _environment(self) -> Dict[str, str]:
        return {
            each.get("name").text: each.get("value").text
            for each in self.node.get("env").each()
            if not each.get("valueFrom")
        }

    def _shm(self) -> Optional[Fact[int]]:
        for mount in self.node.get("volumeMounts").each():
            if mount.get("mountPath").text.rstrip("/") != "/dev/shm":  # noqa: S108
                continue
            for volume in self.pod.get("volumes").each():
                if volume.get("name").text == mount.get("name").text:
                    size = volume.get("emptyDir", "sizeLimit")
                    return _fact(size, memory_bytes(size.text)) if size else None
        return None


class Manifest:
    """The documents of a file."""

    def __init__(self, lines: Lines, nodes: List[Node]) -> None:
        self.lines = lines
        self.file = lines.file
        self.documents = [each for node in nodes for each in _unpacked(node)][:_MOST_DOCUMENTS]

    def __repr__(self) -> str:
        return f"<Manifest {self.file}>"

    def of_kind(self, *kinds: str) -> List[Node]:
        """Return the documents of these kinds."""
        return [each for each in self.documents if each.get("kind").text in kinds]

    def containers(self) -> List[Container]:
        """Return the containers of all pods; those that only initialize are left out."""
        found = []
        for each in self.documents:
            kind = each.get("kind").text
            pod = each.get(*_POD_AT.get(kind, _POD_IN_TEMPLATE))
            owner = each.get("metadata", "name").text
            found += [
                Container(self.file, kind, owner, pod, node)
                for node in pod.get("containers").each()
            ]
        return found

    def runners(self) -> List[Runner]:
        """Return how each container starts and stops its server."""
        return [each.runner() for each in self.containers()]


def recognises(name: str, text: str) -> bool:
    """Return whether it is a manifest of Kubernetes, or a template of one."""
    return name.endswith((".yaml", ".yml", ".json")) and bool(_IS_A_MANIFEST.search(text))


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Add what runs in the manifest, or say why it was not looked at."""
    del open_file
    try:
        subject.manifests.append(parse(Lines(source.file, source.text)))
    except NotYaml as error:
        subject.skip(source.file, str(error))


def parse(lines: Lines) -> Manifest:
    """Return the manifest in a text. Raises `NotYaml`."""
    return Manifest(lines, documents(lines))


def embedded(manifest: Manifest) -> List[Lines]:
    """Return the files in ConfigMaps, each with as many empty lines before it as stand before it in
    the manifest, so that its lines are counted there.
    """
    found = []
    for each in manifest.of_kind("ConfigMap"):
        for name, node in each.get("data").items():
            if "." in name and node.style == "|":  # else its lines are not those of the manifest
                text = "\n" * node.line + node.text
                found.append(Lines(f"{manifest.file}#{name}", text))
    return found


def _unpacked(node: Node) -> Iterator[Node]:
    if node.get("kind").text == "List":
        yield from node.get("items").each()
    elif node.get("kind"):
        yield node


def _fact(node: Node, value: Optional[float]) -> Optional[Fact]:  # type: ignore[type-arg]
    return Fact(value, node.location) if node and value is not None else None


def memory_bytes(text: str) -> Optional[int]:
    """Return a quantity of memory in bytes (`512Mi`, `1G`), None if it is none."""
    found = _MEMORY.fullmatch(text)
    if found is None:
        return None
    unit = found[2] or ""
    if unit == "m":
        return int(float(found[1]) / 1000)
    power = "kMGTPE".find(unit[0]) + 1 if unit not in ("", "Ki") else (1 if unit else 0)
    return int(float(found[1]) * (1024 if unit.endswith("i") else 1000) ** power)


def cores(text: str) -> Optional[float]:
    """Return a quantity of processors (`500m`, `2`), None if it is none."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)(m?)", text)
    return float(found[1]) / (1000 if found[2] else 1) if found else None
