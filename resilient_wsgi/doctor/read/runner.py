"""What starts a server and stops it, whatever its format: a unit, a container, an image, /proc."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Generic, List, Optional, TypeVar

from ..model import Location
from .command import Command

T = TypeVar("T")

UNIT, CONTAINER, SERVICE, IMAGE, PROCESS, INSTANCE = (
    "systemd unit", "Kubernetes container", "compose service", "image", "Procfile process",
    "running instance",
)  # fmt: skip
IN_CONTAINERS = (CONTAINER, SERVICE, IMAGE)


@dataclass(frozen=True)
class Fact(Generic[T]):
    """A value, and where it is set; `given` is False for the default of the format, whose location
    is that of the runner.
    """

    value: T
    location: Location
    given: bool = True


@dataclass
class Runner:
    """How a server is started, stopped and bounded; None and empty where the format does not say.

    `stop_grace` is in seconds (infinite if nothing ever kills it), `memory_bytes` the limit of the
    cgroup.
    """

    kind: str
    name: str
    location: Location
    commands: List[Command] = field(default_factory=list)
    image: str = ""  # the image of a container, or the one that an image is built on
    stop_signal: Optional[Fact[str]] = None
    stop_grace: Optional[Fact[float]] = None
    memory_bytes: Optional[Fact[int]] = None
    cpus: Optional[Fact[float]] = None
    descriptors: Optional[Fact[int]] = None
    shm_bytes: Optional[Fact[int]] = None
    sysctls: Dict[str, Fact[str]] = field(default_factory=dict)
    environment: Dict[str, str] = field(default_factory=dict)
    environment_whole: bool = True  # whether nothing else adds to it (a file, a secret)

    @property
    def in_container(self) -> bool:
        """Whether its server is PID 1, or near it, in a cgroup and namespaces of its own."""
        return self.kind in IN_CONTAINERS

    def number(self, sysctl: str) -> Optional[Fact[int]]:
        """Return a sysctl that it sets, None without one, or if it is no number."""
        fact = self.sysctls.get(sysctl)
        return Fact(int(fact.value), fact.location) if fact and fact.value.isdigit() else None

    def running(self, program: str) -> Optional[Command]:
        """Return the command that starts a server, None if this runs something else."""
        return next((each for each in self.commands if each.program == program), None)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
