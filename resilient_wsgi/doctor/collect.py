"""From paths to a subject: files are found, opened within limits, recognised and read."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, List, Mapping, Optional

from . import recognise
from .files import MOST_BYTES, CannotRead, read_text
from .live import instance
from .machine import Machine, ThisMachine
from .read import kubernetes, runners, uwsgi_command
from .read.django import DjangoSettings
from .read.uwsgi_export import Open
from .subject import Source, Subject

MOST_FILES = 5000  # of a folder that is searched
MOST_BYTES_FOUND = 1 << 20  # of a file that was not named: configurations are small
MOST_BYTES_INCLUDED = 64 << 20  # of all includes together
_DOCUMENTS = (".md", ".markdown", ".rst", ".adoc", ".html", ".htm", ".ipynb", ".svg", ".lock")
_NEVER = {"node_modules", "venv", "site-packages", "__pycache__", "build", "dist"}


def from_texts(files: Mapping[str, str], machine: Optional[Machine] = None) -> Subject:
    """Return the subject of an example: files by name, `machine` for facts of the machine, `live`
    for a running instance, and `django` for settings of a project, as literals.
    """
    described = Machine.described(files["machine"]) if "machine" in files else None
    subject = Subject(machine or described)
    if "live" in files:
        subject.live = instance.described(files["live"])
    if "django" in files:
        subject.django = DjangoSettings.described(files["django"])
    told = {"machine", "live", "django"}
    texts = {name: text for name, text in files.items() if name not in told}

    def open_file(path: str, within: str) -> Optional[Source]:
        name = path or within
        return Source(name, texts[name]) if name in texts else None

    for name, text in texts.items():
        _read(subject, Source(name, text), open_file)
    _finish(subject, open_file)
    return subject


def from_paths(paths: List[str], subject: Subject) -> None:
    """Add the files and, of folders, the files in them that some reader recognises."""
    opener = _Opener(subject)
    for path in paths:
        if os.path.isdir(path):
            for found in _files_in(path):
                opener.look(found, asked=False)
        else:
            opener.look(path, asked=True)
    _finish(subject, opener.open)


class _Opener:
    """Opens files for the readers."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._left = MOST_BYTES_INCLUDED

    def look(self, path: str, *, asked: bool) -> None:
        """Read a file; one that was asked for and cannot be looked at is reported."""
        try:
            most = MOST_BYTES if asked else MOST_BYTES_FOUND
            source = Source(_shown(path), read_text(path, most))
        except (OSError, CannotRead) as error:
            if asked:
                self._subject.skip(_shown(path), _reason(error), asked=True)
            return
        if not _read(self._subject, source, self.open) and asked:
            self._subject.skip(source.file, "of no format that the doctor knows", asked=True)

    def open(self, path: str, within: str) -> Optional[Source]:
        """Open what a file includes: seen from that file, else from the working directory."""
        if not path:
            return self._subject.sources.get(within)
        beside = os.path.join(os.path.dirname(within), path)
        for place in (beside, path):
            known = self._subject.sources.get(_shown(place))
            if known:
                return known
            with contextlib.suppress(OSError, ValueError):
                text = read_text(place, min(MOST_BYTES, self._left))
                self._left -= len(text)
                return self._keep(Source(_shown(place), text))
        by = f" by {within}" if within else ""
        self._subject.skip(path, f"included{by}, and cannot be read")
        return None

    def _keep(self, source: Source) -> Source:
        self._subject.sources.setdefault(source.file, source)
        return source


def _read(subject: Subject, source: Source, open_file: Open) -> bool:
    kind = recognise.kind_of(os.path.basename(source.file), source.text)
    if kind is None:
        return False
    known = source._replace(kind=kind)
    subject.sources[source.file] = known
    recognise.reader(kind).read(subject, known, open_file)
    return True


def _finish(subject: Subject, open_file: Open) -> None:
    """Read what stands in other files, and put together what belongs together."""
    for manifest in subject.manifests:
        for each in kubernetes.embedded(manifest):
            _read(subject, Source(each.file, each.text), open_file)
    uwsgi_command.merge(subject, open_file)
    for_containers = any(runner.in_container for runner in runners.of(subject))
    if for_containers and subject.live is None and isinstance(subject.machine, ThisMachine):
        subject.machine = Machine()
        subject.skip("the limits and versions of this machine", "the files are for a container")


def _files_in(folder: str) -> Iterator[str]:
    count = 0
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(
            each for each in folders if each not in _NEVER and not each.startswith(".")
        )
        for name in sorted(names):
            count += 1
            if count > MOST_FILES:
                return
            if not name.endswith(_DOCUMENTS):
                yield os.path.join(path, name)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _shown(path: str) -> str:
    full, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(full, here) if full.startswith(here.rstrip("/") + "/") else full
