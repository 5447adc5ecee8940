"""Options of uWSGI on its command line and in its environment, put together with the file that it
names: `uwsgi --ini uwsgi.ini --processes 4`, and `UWSGI_PROCESSES=4`.

uWSGI takes the environment first, then the command line, in which `--ini` puts the options of the
file in its place (core/utils.c, parse_sys_envs; core/init.c, uwsgi_commandline_config).
"""

from __future__ import annotations

import posixpath
import re
from typing import Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ..model import Location
from ..subject import Source, Subject
from ..uwsgi_config import Option, UwsgiConfig
from . import runners, uwsgi_ini
from .command import Command
from .runner import INSTANCE, Runner
from .uwsgi_export import Exporter, Open
from .uwsgi_options import Known, shipped
from .uwsgi_placeholders import Host

# set by uWSGI for itself, and no options (core/utils.c)
_OF_UWSGI_ITSELF = {
    "UWSGI_RELOADS",
    "UWSGI_VASSALS_DIR",
    "UWSGI_EMPEROR_FD",
    "UWSGI_BROODLORD_NUM",
    "UWSGI_EMPEROR_FD_CONFIG",
    "UWSGI_EMPEROR_PROXY",
    "UWSGI_JAIL_PID",
    "UWSGI_ORIGINAL_PROC_NAME",
}
_SECTION = re.compile(r"[^:/]:([\w.-]+)$")
_NO_CONFIG = (".py", ".wsgi", ".pl", ".psgi", ".ru", ".lua", "[")
_FILE_OPTIONS = ("ini", "include", "inherit", "ini-paste", "xmlconfig", "yaml", "json", "config")


def merge(subject: Subject, open_file: Open) -> None:
    """Replace the configurations of files by those that the commands of the subject make of them,
    and add those of commands that name no file.
    """
    merged: List[UwsgiConfig] = []
    covered: Set[str] = set()
    as_it_is: Set[str] = set()  # names of files that some command starts without more
    for runner in runners.of(subject):
        command = runner.running("uwsgi")
        config = command and _config(subject, command, runner, open_file)
        if config:
            merged.append(config)
            covered.add(config.location.file)
        elif command:
            as_it_is.update(posixpath.basename(each) for each in command.files())
    subject.uwsgi[:] = [
        each
        for each in subject.uwsgi
        if each.location.file not in covered or posixpath.basename(each.location.file) in as_it_is
        if each.command is None
    ] + merged
    _leave_open(subject, merged)


def _leave_open(subject: Subject, merged: List[UwsgiConfig]) -> None:
    """Take nothing for missing in a project whose image is made from one that runs uWSGI itself.

    tiangolo/uwsgi-nginx, for one, starts uWSGI with a file of its own and options in the
    environment (UWSGI_CHEAPER, which implies a master), to which the project's file is added.
    """
    bases = [each.base for each in subject.dockerfiles if not each.runner().running("uwsgi")]
    if any("uwsgi" in base.rpartition("/")[2] for base in bases):
        for config in subject.uwsgi:
            config.complete = config.complete and config in merged


def _config(
    subject: Subject, command: Command, runner: Runner, open_file: Open
) -> Optional[UwsgiConfig]:
    """Return what a command makes of its file; None if that is no more than the file says."""
    given = list(options(command.words))
    environment = list(_from_environment({**runner.environment, **command.environment}))
    files = [value for name, value in given if _known_canonical(name) in _FILE_OPTIONS]
    runs = runner.kind == INSTANCE  # then its whole environment is known
    section = _section(files[0]) if files else ""
    if len(given) + len(environment) == len(files) < 2 and not section and not runs:
        return None
    opened: List[Source] = []

    def open_named(path: str, within: str) -> Optional[Source]:
        source = _by_name(subject, path) if within == command.location.file else None
        source = source or open_file(path, within)
        opened.extend([source] if source else [])
        if source and within == command.location.file:
            _is_uwsgis(subject, source)
        return source

    exporter = Exporter(open_named, Host(runner.environment if runs else None))
    for name, value in (*environment, *given):
        exporter.add(Option(name, value, command.location, value, ""))
    place = _place(subject, opened, section) or command.location
    config = exporter.config(place)
    config.command = command
    return config


def options(words: Sequence[str]) -> Iterator[Tuple[str, str]]:
    """Yield the options of a command line as getopt_long takes them, by their full names."""
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            known = _full(name)
            if not equals and known and known.takes == "required" and left:
                value = left.pop(0)
            yield (known.name if known else name), value
        elif word.startswith("-") and len(word) > 1:
            yield from _letters(word[1:], left)
        elif not word.endswith(_NO_CONFIG[:-1]) and not word.startswith(_NO_CONFIG[-1]):
            yield "include", word


def _letters(letters: str, left: List[str]) -> Iterator[Tuple[str, str]]:
    """Yield what `-Mp4` gives: `master`, and `processes` with 4."""
    while letters:
        letter, letters = letters[0], letters[1:]
        known = shipped().by_letter.get(letter)
        if known is None:
            return
        if known.takes == "required":
            yield known.name, letters or (left.pop(0) if left else "")
            return
        yield known.name, ""


def _full(name: str) -> Optional[Known]:
    """Return the option of this name, or the only one that starts so: getopt_long accepts that."""
    table = shipped()
    if name in table or not name:
        return table.get(name)
    longer = [each for each in table.by_name if each.startswith(name)]
    return table.get(longer[0]) if len(longer) == 1 else None


def _from_environment(environment: Mapping[str, str]) -> Iterator[Tuple[str, str]]:
    for name, value in environment.items():
        if name.startswith("UWSGI_") and name not in _OF_UWSGI_ITSELF:
            yield name[len("UWSGI_") :].lower().replace("_", "-"), value


def _known_canonical(name: str) -> str:
    return shipped().canonical(name) if name != "include" else name


def _by_name(subject: Subject, path: str) -> Optional[Source]:
    """Return the file of this name: where it lies in an image is not where it lies here."""
    name = posixpath.basename(path)
    named = [
        each
        for each in subject.sources.values()
        if each.kind == "uwsgi" and posixpath.basename(each.file).rpartition("#")[2] == name
    ]
    return named[0] if len(named) == 1 else None


def _is_uwsgis(subject: Subject, source: Source) -> None:
    """Note that a file is uWSGI's, as the command says: it need not have a section [uwsgi]."""
    if not source.kind:
        subject.sources[source.file] = source._replace(kind="uwsgi")
        subject.not_looked[:] = [each for each in subject.not_looked if each.what != source.file]


def _section(file: str) -> str:
    """Return the section that is named behind a file: `prod` of `uwsgi.ini:prod`."""
    found = _SECTION.search(file)
    return found[1] if found else ""


def _place(subject: Subject, opened: List[Source], section: str) -> Optional[Location]:
    """Return the head of the file, or of its section, that the command names: what is missing is
    missing there.
    """
    for source in opened[:1]:
        lines = [
            line for name, line in uwsgi_ini.sections(source.text) if section and name == section
        ]
        if lines:
            return Location(source.file, lines[0], source.lines()[lines[0] - 1])
    return next(
        (
            each.location
            for source in opened
            for each in subject.uwsgi
            if each.location.file == source.file
        ),
        None,
    )
