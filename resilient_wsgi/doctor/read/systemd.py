"""Units of systemd: sections, repeated keys, continued lines, time spans, sizes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from glob import escape, iglob
from itertools import islice
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from ..model import Location
from ..subject import Source, Subject
from . import command
from .lines import Lines
from .runner import UNIT, Fact, Runner
from .uwsgi_export import Open

MOST_DROP_INS = 100
_NAMES = (".service", ".conf", ".in", ".j2", ".txt")
_IS_A_UNIT = re.compile(r"^\[Service\]\s*$", re.MULTILINE)
DEFAULT_STOP_SECONDS = 90.0  # DefaultTimeoutStopSec=, system.conf(5)
FOREVER = float("inf")
_SECTION = re.compile(r"^\[([^\]\[]+)\]$")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Zµ]*)")
_SPANS = {
    "usec": 1e-6, "us": 1e-6, "µs": 1e-6, "msec": 1e-3, "ms": 1e-3, "": 1, "s": 1, "sec": 1,
    "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600,
    "hr": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip


class NotAUnit(ValueError):
    """The text is no unit of systemd."""


class Setting(NamedTuple):
    """A line of a unit: `[section] key=value`, and where it stands."""

    section: str
    key: str
    value: str
    location: Location

    def fact(self) -> Fact[str]:
        """Return the value as a fact."""
        return Fact(self.value, self.location)


class Unit:
    """A unit file, or a drop-in of one."""

    def __init__(self, file: str, settings: List[Setting]) -> None:
        self.file = file
        self.settings = settings
        self._by_key: Dict[Tuple[str, str], List[Setting]] = {}
        for each in settings:
            self._by_key.setdefault((each.section, each.key), []).append(each)

    def __repr__(self) -> str:
        return f"<Unit {self.file}>"

    @property
    def name(self) -> str:
        """The name that systemd knows it by: that of its file."""
        return self.file.rpartition("/")[2]

    def all(self, key: str, section: str = "Service") -> List[Setting]:
        """Return the settings of a key; an empty value forgets those before it, as in systemd."""
        found: List[Setting] = []
        for each in self._by_key.get((section, key), ()):
            if each.value:
                found.append(each)
            else:
                found.clear()
        return found

    def last(self, key: str, section: str = "Service") -> Optional[Setting]:
        """Return the setting of a key that counts, None without one."""
        found = self.all(key, section)
        return found[-1] if found else None

    def runner(self) -> Optional[Runner]:
        """Return how this unit runs its service, None if it is no service."""
        starts = self.all("ExecStart")
        if not starts:
            return None
        runner = Runner(UNIT, self.name, starts[0].location)
        for each in starts:
            runner.commands += command.command(_words(each.value), each.location, self.file)
        if not self.all("ExecStop"):  # else that stops it, in its own way
            runner.stop_signal = self._fact("KillSignal")
        runner.stop_grace = self._stop_grace(runner)
        runner.memory_bytes = self._size("MemoryMax") or self._size("MemoryLimit")
        runner.descriptors = self._descriptors()
        for each in self.all("Environment"):
            for word in _words(each.value):
                name, equals, value = word.partition("=")
                if equals:
                    runner.environment[name] = value
        runner.environment_whole = not (self.all("EnvironmentFile") or self.all("PassEnvironment"))
        return runner

    def _fact(self, key: str) -> Optional[Fact[str]]:
        found = self.last(key)
        return found.fact() if found else None

    def _stop_grace(self, runner: Runner) -> Optional[Fact[float]]:
        found = self.last("TimeoutStopSec") or self.last("TimeoutSec")
        if self.last("SendSIGKILL") and is_off(self.last("SendSIGKILL")):
            return Fact(FOREVER, runner.location, given=False)
        if found is None:
            return Fact(DEFAULT_STOP_SECONDS, runner.location, given=False)
        span = seconds(found.value)
        return None if span is None else Fact(span or FOREVER, found.location)

    def _size(self, key: str) -> Optional[Fact[int]]:
        found = self.last(key)
        size = size_bytes(found.value) if found else None
        return Fact(size, found.location) if found and size is not None else None

    def _descriptors(self) -> Optional[Fact[int]]:
        found = self.last("LimitNOFILE")
        if found is None:
            return None
        soft = found.value.split(":")[0]
        at = found.location
        if soft == "infinity":
            return Fact(1 << 30, at)  # fs.nr_open is what holds then
        return Fact(int(soft), at) if soft.isdigit() else None


def parse(lines: Lines) -> Unit:
    """Return the unit in a text. Raises `NotAUnit`."""
    if lines.too_long:
        raise NotAUnit(lines.too_long)
    settings: List[Setting] = []
    section = ""
    for number, line in _logical_lines(lines.text):
        found = _SECTION.match(line)
        if found:
            section = found[1]
            continue
        key, equals, value = line.partition("=")
        if not equals or not section:
            msg = f"line {number}: neither a section nor `Key=value`"
            raise NotAUnit(msg)
        settings.append(Setting(section, key.strip(), value.strip(), lines.at(number)))
    return Unit(lines.file, settings)


def recognises(name: str, text: str) -> bool:
    """Return whether it is a unit that runs something, or a drop-in of one."""
    return (name.endswith(_NAMES) or "." not in name) and bool(_IS_A_UNIT.search(text))


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Add the unit with its drop-ins, those in its folder `x.service.d` too."""
    try:
        unit = parse(Lines(source.file, source.text))
    except NotAUnit as error:
        subject.skip(source.file, str(error))
        return
    subject.units.append(unit)
    if drop_in_of(unit.file) is None:
        for path in sorted(islice(iglob(escape(source.file) + ".d/*.conf"), MOST_DROP_INS)):
            found = open_file(os.path.abspath(path), source.file)
            with suppress(NotAUnit):
                subject.units += [parse(Lines(found.file, found.text))] if found else []


def services(units: Iterable[Unit]) -> List[Unit]:
    """Return the units with what their drop-ins add; a drop-in without its unit is left out."""
    drop_ins: Dict[str, Dict[str, Unit]] = {}
    for each in units:
        owner = drop_in_of(each.file)
        if owner is not None:
            drop_ins.setdefault(owner, {})[each.file] = each
    return [
        merged(each, [found for _, found in sorted(drop_ins.get(each.name, {}).items())])
        for each in units
        if drop_in_of(each.file) is None
    ]


def merged(unit: Unit, drop_ins: List[Unit]) -> Unit:
    """Return a unit with what its drop-ins add; each setting keeps its own location."""
    return Unit(unit.file, [s for each in (unit, *drop_ins) for s in each.settings])


def seconds(text: str) -> Optional[float]:
    """Return a time span of systemd in seconds (`90`, `5min 20s`), infinite for `infinity`; None if
    it is none.
    """
    if text.strip() == "infinity":
        return FOREVER
    parts = _SPAN.findall(text)
    if not parts or _SPAN.sub("", text).strip() or any(unit not in _SPANS for _, unit in parts):
        return None
    return sum(float(number) * _SPANS[unit] for number, unit in parts)


def size_bytes(text: str) -> Optional[int]:
    """Return a size of systemd in bytes (`512M`, base 1024), None for `infinity`, a percentage and
    what is none.
    """
    found = re.fullmatch(r"(\d{1,15})\s*([KMGTPE]?)B?", text.strip())
    return int(found[1]) << (10 * " KMGTPE".index(found[2] or " ")) if found else None


def is_off(setting: Optional[Setting]) -> bool:
    """Return whether a boolean of systemd is set to false."""
    return setting is not None and setting.value.lower() in ("0", "no", "n", "false", "f", "off")


def _words(value: str) -> List[str]:
    return command.split(value.lstrip("@-:+!|"))


def _logical_lines(text: str) -> List[Tuple[int, str]]:
    """Return the lines with their numbers, continued ones joined, comments left out."""
    found: List[Tuple[int, str]] = []
    begun: Optional[Tuple[int, List[str]]] = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if line[:1] in ("#", ";") or (not line and begun is None):
            continue  # a comment within a continued line is left out, too
        start, parts = begun or (number, [])
        parts.append(line[:-1].rstrip() if line.endswith("\\") else line)
        begun = (start, parts) if line.endswith("\\") else None
        if begun is None:
            found.append((start, " ".join(parts).strip()))
    if begun is not None:
        found.append((begun[0], " ".join(begun[1]).strip()))
    return [each for each in found if each[1]]


def drop_in_of(path: str) -> Optional[str]:
    """Return the name of the unit that a drop-in (`x.service.d/10-limits.conf`) belongs to."""
    found = re.search(r"([^/]+\.service)\.d/[^/]+\.conf$", path)
    return found[1] if found else None
