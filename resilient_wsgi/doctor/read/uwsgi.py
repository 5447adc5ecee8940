"""Recognise and read uWSGI's ini files."""

from __future__ import annotations

from ..subject import Source, Subject
from . import uwsgi_export, uwsgi_ini
from .uwsgi_options import shipped


def recognises(name: str, text: str) -> bool:
    """Return whether it is an ini file with a section [uwsgi], or one whose options are uWSGI's."""
    if "[uwsgi" in text:
        return any(section == "uwsgi" for section, _ in uwsgi_ini.sections(text)) or (
            name.endswith(".ini") and "\n[uwsgi" in f"\n{text}"
        )
    return False


def read(subject: Subject, source: Source, open_file: uwsgi_export.Open) -> None:
    """Add the configuration of section [uwsgi]."""
    shipped()
    subject.uwsgi.append(uwsgi_export.read(source, open_file))
