"""Facts of the machine that configurations are compared with."""

from __future__ import annotations

import os
import re
import sys
from typing import Dict, FrozenSet, Mapping, Optional, Tuple

from . import uwsgi_binary

_VERSION = re.compile(r"\d+(?:\.\d+)*")
_MOST_BYTES = 4096


class Machine:
    """Facts by name: sysctls (`net.core.somaxconn`), versions (`uwsgi`, `python`), `uid`.

    A fact that is not known is None, and no rule may conclude anything from that.
    """

    def __init__(self, facts: Optional[Mapping[str, str]] = None) -> None:
        self._facts: Dict[str, str] = dict(facts or {})

    @classmethod
    def described(cls, text: str) -> Machine:
        """Return the machine of an example: lines `name = value`."""
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
        return cls({name.strip(): value.strip() for name, _, value in pairs})

    def text(self, name: str) -> Optional[str]:
        """Return a fact as it is, None if it is unknown."""
        return self._facts.get(name)

    def number(self, name: str) -> Optional[int]:
        """Return a fact that is a number, None if it is unknown or none."""
        text = (self.text(name) or "").split()
        return int(text[0]) if text and text[0].isdigit() else None

    def version(self, name: str) -> Optional[Tuple[int, ...]]:
        """Return the version of `uwsgi`, `python` or a package: (2, 0, 31); None if unknown."""
        found = _VERSION.match(self.text(name) or "")
        return tuple(map(int, found[0].split("."))) if found else None

    def uwsgi_options(self) -> FrozenSet[str]:
        """Return the options of the uWSGI that is installed; none if there is none."""
        return frozenset((self.text("uwsgi options") or "").split())


class ThisMachine(Machine):
    """The machine, and the network namespace, that the doctor runs on."""

    def __init__(self, facts: Optional[Mapping[str, str]] = None) -> None:
        super().__init__(facts)
        self._options: Optional[FrozenSet[str]] = None

    def text(self, name: str) -> Optional[str]:
        """Return a fact, read when it is first asked for."""
        if name not in self._facts:
            value = uwsgi_binary.version() if name == "uwsgi" else _sysctl(name)
            if value is not None:
                self._facts[name] = value
        return super().text(name)

    def uwsgi_options(self) -> FrozenSet[str]:
        """Return the options that `uwsgi --help` lists, run when they are first asked for."""
        if self._options is None:
            self._options = uwsgi_binary.options()
        return self._options


def _sysctl(name: str) -> Optional[str]:
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", name) or not sys.platform.startswith("linux"):
        return None
    try:
        with open(os.path.join("/proc/sys", *name.split(".")), encoding="ascii") as file:
            return file.read(_MOST_BYTES).strip()
    except (OSError, ValueError):
        return None
