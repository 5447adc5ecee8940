"""Which versions what is looked at will run with: what the project pins, else the machine's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, Optional, Tuple

from ..subject import Subject

if TYPE_CHECKING:
    from ..read.requirements import Pin

_ALIASES = {"uwsgi": ("uwsgi", "pyuwsgi")}
_PYTHON_IMAGE = re.compile(r"(?:^|/)python:(\d+(?:\.\d+)+)")


def pinned(subject: Subject, *names: str) -> List[Pin]:
    """Return where these packages are asked for."""
    return [pin for pin in subject.pins if pin.name in names]


def version_of(subject: Subject, package: str) -> Optional[Tuple[int, ...]]:
    """Return the version of a package, None if it is unknown or differs between files.

    `python` is that of the images the project is built on; the machine's counts only where the
    project says nothing.
    """
    if package == "python":
        images = (str(getattr(each, "base", "")) for each in subject.dockerfiles)
        found = {each[1] for each in map(_PYTHON_IMAGE.search, images) if each}
    else:
        found = {
            pin.version
            for pin in pinned(subject, *_ALIASES.get(package, (package,)))
            if pin.version
        }
    if not found:
        return subject.machine.version(package)
    digits = re.match(r"\d+(\.\d+)*", found.pop()) if len(found) == 1 else None
    return tuple(map(int, digits[0].split("."))) if digits else None


def shown(version: Optional[Tuple[int, ...]]) -> str:
    """Return a version as text."""
    return ".".join(map(str, version or ("unknown",)))
