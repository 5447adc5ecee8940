"""How uWSGI gathers its options from files (core/config.c, add_exported_option): one after the
other, included files in their place, `for` and `if-...` applied on the way.
"""

from __future__ import annotations

import re
from typing import Callable, Iterator, List, NamedTuple, Optional, Set

from ..model import Location
from ..subject import Source
from ..uwsgi_config import Option, UwsgiConfig, leading_number
from . import uwsgi_ini, uwsgi_other
from .uwsgi_magic import Magic
from .uwsgi_placeholders import Host, expand

MOST_FILES = 1000
MOST_OPTIONS = 5000
_INCLUDES = ("ini", "ini-paste", "config", "xmlconfig", "yaml", "json")
_CLOSES = ("end", "endfor", "endif", "end-if", "end-for")
# opens the file of that name as seen from another; None: it cannot be read, or is another format
Open = Callable[[str, str], Optional[Source]]


class _Logic(NamedTuple):
    """A `for` or `if-...` that was not closed yet."""

    kind: str
    argument: str


# what a template engine, envsubst, Ansible, sed or a reader is to replace before uWSGI reads it
_TO_FILL_IN = re.compile(r"\{\{|\{%|\$\{|<%|__[A-Z][A-Z0-9_]*__|@[A-Z][A-Z0-9_]*@|^<[\w -]+>$")


class _Reading(NamedTuple):
    """A file that is being read."""

    file: str
    section: str
    texts: List[str]
    lines: Iterator[uwsgi_ini.Line]


class Exporter:
    """Gathers the options of one instance."""

    def __init__(self, open_file: Open, host: Host) -> None:
        self.options: List[Option] = []
        self.complete = True
        self.loops: List[Option] = []
        self._open = open_file
        self._host = host
        self._first: Optional[Magic] = None
        self._logic: Optional[_Logic] = None
        self._in_logic = False  # what an include within a `for` adds is not subject to it again
        self._reading: List[_Reading] = []  # a stack: what is included is read before what follows
        self._files = 0

    def source(self, source: Source, section: str = "uwsgi", *, named: bool = False) -> None:
        """Add the options of a section of an ini file."""
        self._begin(source, section, named=named)
        self._finish(0)

    def _begin(self, source: Source, section: str, *, named: bool) -> None:
        magic = Magic(source.file, section if named else "", self._host.magic, self._first)
        self._first = self._first or magic
        lines = iter(self._lines(source, magic, section))
        self._reading.append(_Reading(source.file, section, source.lines(), lines))

    def _finish(self, depth: int) -> None:
        """Read on until only `depth` of the files that were begun are left."""
        while len(self._reading) > depth:
            reading = self._reading[-1]
            line = next(reading.lines, None)
            if line is None:
                self._reading.pop()
                continue
            where = Location(reading.file, line.number, reading.texts[line.number - 1])
            known = line.resolved and not _TO_FILL_IN.search(line.raw)
            self._take(Option(line.key, line.value, where, line.raw, line.section, True, known))

    def _lines(self, source: Source, magic: Magic, section: str) -> List[uwsgi_ini.Line]:
        extension = source.file.rpartition(".")[2]
        if extension not in uwsgi_other.FORMATS:
            return list(uwsgi_ini.lines(source.text, magic, section))
        try:
            return list(uwsgi_other.lines(extension, source.text, magic, section))
        except uwsgi_other.NotReadable:
            self.complete = False
            return []

    def add(self, option: Option) -> None:
        """Add an option of the command line or the environment, with the files it includes."""
        self._take(option)
        self._finish(0)

    def _take(self, option: Option) -> None:
        """Add an option, once, several times or not at all, as the logic it stands in says."""
        if option.name in _CLOSES and not self._in_logic:
            self._logic = None
        if self._logic is None or self._in_logic:
            self._add(option)
            return
        self._in_logic = True
        for each in self._by_logic(self._logic, option):
            depth = len(self._reading)
            self._add(each)
            self._finish(depth)
            if len(self.options) >= MOST_OPTIONS:
                self.complete = False
                break
        self._in_logic = False

    def config(self, location: Location) -> UwsgiConfig:
        """Return the configuration, its placeholders replaced."""
        expanded = expand(self.options, self._host, complete=self.complete)
        # `inherit` is no immediate option: what it adds comes last, and keeps its placeholders
        self.options = []
        for option in expanded:
            if option.name == "inherit":
                self._include(option)
                self._finish(0)
        config = UwsgiConfig(location, expanded + self.options, complete=self.complete)
        config.loops = self.loops
        return config

    def _add(self, option: Option) -> None:
        if len(self.options) >= MOST_OPTIONS:
            self.complete = False
            return
        self.options.append(option)
        kind = option.known
        if kind is None:
            return
        if kind.kind == "logic":
            self._logic = _Logic(option.name, option.value)
        elif option.name in ("set", "set-placeholder", "set-ph") and "=" in option.value:
            name, _, value = option.value.partition("=")
            only = option.name != "set"
            self._add(option._replace(name=name, value=value, placeholder=only))
        elif kind.canonical in _INCLUDES or option.name == "include":
            self._include(option)

    def _include(self, option: Option) -> None:
        path, colon, section = option.value.rpartition(":")
        if not colon:
            path, section = option.value, ""
        section = section or "uwsgi"
        within = self._reading[-1].file if self._reading else option.location.file
        if not option.resolved or not option.certain or self._files >= MOST_FILES:
            self.complete = False
            return
        self._files += 1
        opened = self._open(path, within) if path else self._open("", within)
        loops = opened is not None and any(
            each.file == opened.file and each.section == section for each in self._reading
        )
        if opened is None or loops:
            self.complete = False
            self.loops += [option] if loops else []
            return
        self._begin(opened, section, named=bool(colon))

    def _by_logic(self, logic: _Logic, option: Option) -> Iterator[Option]:
        if logic.kind == "for":
            yield from (_filled(option, word) for word in logic.argument.split(" ") if word)
        elif logic.kind == "for-times":
            times = min(leading_number(logic.argument), MOST_OPTIONS)
            yield from (_filled(option, str(each + 1)) for each in range(times))
        elif logic.kind in ("if-opt", "if-not-opt"):
            yield from self._if_option(logic, option)
        elif logic.kind in ("if-env", "ifenv", "if-not-env") and self._host.environ is not None:
            found = self._host.environ.get(logic.argument.partition("=")[0])
            yield from _if(found, logic, option)
        elif logic.kind == "if-not-reload":
            yield option
        elif logic.kind != "if-reload":
            unknown = "%(_)" in option.value
            yield option._replace(certain=False, resolved=option.resolved and not unknown)

    def _if_option(self, logic: _Logic, option: Option) -> Iterator[Option]:
        name = logic.argument.partition("=")[0]
        first = next((each for each in self.options if each.name == name), None)
        if (first and not (first.certain and first.resolved)) or not (first or self.complete):
            yield option._replace(certain=False)
        else:
            yield from _if(first.value if first else None, logic, option)


def _if(found: Optional[str], logic: _Logic, option: Option) -> Iterator[Option]:
    """Yield the option if `name` is there, or `name=value` is so; the reverse for `if-not-...`."""
    _, equals, wanted = logic.argument.partition("=")
    true = found is not None and (not equals or found == wanted)
    if true is not logic.kind.startswith("if-not"):
        yield _filled(option, found or "")


def _filled(option: Option, text: str) -> Option:
    return option._replace(value=option.value.replace("%(_)", text))


def read(
    source: Source,
    open_file: Open,
    section: str = "uwsgi",
    host: Host = Host(),  # noqa: B008 - immutable
) -> UwsgiConfig:
    """Return the configuration that uWSGI takes from a section of a file."""
    exporter = Exporter(open_file, host)
    exporter.source(source, section, named=section != "uwsgi")
    lines = source.lines()
    found: Set[int] = {line for name, line in uwsgi_ini.sections(source.text) if name == section}
    line = min(found, default=1)
    return exporter.config(Location(source.file, line, lines[line - 1] if lines else ""))
