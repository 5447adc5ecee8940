"""Everything that was found to look at, and what could not be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional

from .machine import Machine

if TYPE_CHECKING:
    from .uwsgi_config import UwsgiConfig


class Source(NamedTuple):
    """A file as it was read."""

    file: str  # as it is shown: relative to the working directory where it lies below it
    text: str
    kind: str = ""  # "uwsgi", "nginx", "unit", ...: what it was recognised as

    def lines(self) -> List[str]:
        """Return its lines, without their ends, at the numbers that editors show less one."""
        return [line.rstrip("\r") for line in self.text.split("\n")]


class NotLooked(NamedTuple):
    """Something that was not looked at, and why."""

    what: str
    why: str
    asked: bool = False  # whether it was named on the command line


class Subject:
    """What the rules look at.

    Each list holds what the reader of its format returned, in the order of the files; it is empty
    if there was no such file, and then rules that need one are silent.
    """

    def __init__(self, machine: Optional[Machine] = None) -> None:
        self.machine = machine or Machine()
        self.sources: Dict[str, Source] = {}
        self.not_looked: List[NotLooked] = []
        self.uwsgi: List[UwsgiConfig] = []
        # what the readers of other formats return; each defines its own class
        self.nginx: List[Any] = []
        self.gunicorn: List[Any] = []
        self.granian: List[Any] = []
        self.units: List[Any] = []
        self.manifests: List[Any] = []
        self.dockerfiles: List[Any] = []
        self.composes: List[Any] = []
        self.procfiles: List[Any] = []
        self.pins: List[Any] = []  # packages that requirements files ask for
        self.python: List[Source] = []  # the app's sources: searched, never imported
        self.django: Optional[Any] = None
        self.live: Optional[Any] = None
        self.derived: Dict[str, Any] = {}  # what is made of these lists, once for all rules

    def skip(self, what: str, why: str, *, asked: bool = False) -> None:
        """Note that something was not looked at, once."""
        note = NotLooked(what, why, asked)
        if note not in self.not_looked:
            self.not_looked.append(note)
