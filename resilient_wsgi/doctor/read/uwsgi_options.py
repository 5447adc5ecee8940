"""The options that uWSGI 2.0.31 has, with the way it reads their values.

The table is made from uWSGI's source by tools/uwsgi_options.py; it has the options of all plugins,
those that pip's uWSGI does not contain, too.
"""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from typing import Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional

BOOLEAN = ("bool", "inverse")
# read by atoi() or strtoul(): digits, and whatever follows them is ignored
NUMBERS = ("int", "signed", "size", "size16", "megabytes")

_LONG_ENOUGH, _LONGEST = 5, 60  # letters of a name for which another is looked for


class Known(NamedTuple):
    """An option of uWSGI."""

    name: str
    short: str  # the letter on the command line, "-" if there is none
    kind: str  # bool, inverse, int, signed, size, size16, megabytes, text, list, logic, other ...
    canonical: str  # the first of its names
    flags: FrozenSet[str]  # what it turns on: master, log_master, threads; immediate: read at once
    plugin: str  # "-": the core
    takes: str  # no, required or optional: an argument on the command line

    @property
    def is_boolean(self) -> bool:
        """Return whether every value but false, off, no and 0 is true."""
        return self.kind in BOOLEAN

    @property
    def is_number(self) -> bool:
        """Return whether the value is read by atoi or strtoul."""
        return self.kind in NUMBERS


class OptionTable:
    """Options by name."""

    def __init__(self, known: Iterable[Known]) -> None:
        self.by_name: Dict[str, Known] = {each.name: each for each in known}
        self.by_letter: Dict[str, Known] = {}
        self._near: Dict[str, List[str]] = {}
        self._meant: Dict[str, str] = {}
        for each in self.by_name.values():
            if each.short != "-":
                self.by_letter.setdefault(each.short, each)

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def get(self, name: str) -> Optional[Known]:
        """Return an option, None if there is none of this name."""
        return self.by_name.get(name)

    def canonical(self, name: str) -> str:
        """Return the first of the names of an option, the name itself if it is unknown."""
        known = self.by_name.get(name)
        return known.canonical if known else name

    def nearest(self, name: str) -> str:
        """Return the option that was probably meant: one letter more, less, other or elsewhere, or
        the end left out or prolonged; "" if there is none.
        """
        if name not in self._meant:
            self._meant[name] = self._nearest(name) if len(name) <= _LONGEST else ""
        return self._meant[name]

    def _nearest(self, name: str) -> str:
        if not self._near:
            for each in self.by_name:
                for text in {each, *_shortened(each)}:
                    self._near.setdefault(text, []).append(each)
        candidates = [
            each for text in (name, *_shortened(name)) for each in self._near.get(text, ())
        ]
        if len(name) >= _LONG_ENOUGH:
            candidates += [each for each in self.by_name if each.startswith(name)]
            candidates += [name[:-letters] for letters in (1, 2) if name[:-letters] in self.by_name]
        return min(candidates, key=lambda each: (abs(len(each) - len(name)), each), default="")


def _shortened(name: str) -> Iterator[str]:
    """Yield a name without each of its letters: names that share one of these differ by one."""
    if len(name) >= _LONG_ENOUGH:
        for index in range(len(name)):
            yield name[:index] + name[index + 1 :]


@lru_cache(maxsize=1)
def shipped() -> OptionTable:
    """Return the table for uWSGI 2.0.31; parsed when it is first needed."""
    text = (pkgutil.get_data(__package__, "uwsgi.options") or b"").decode("ascii")
    return OptionTable(_known(line.split(" ")) for line in text.splitlines())


def _known(cells: list[str]) -> Known:
    name, short, kind, canonical, flags, plugin, takes = cells
    turned_on = frozenset() if flags == "-" else frozenset(flags.split(","))
    return Known(name, short, kind, canonical, turned_on, plugin, takes)
