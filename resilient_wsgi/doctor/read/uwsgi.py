"""Recognise and read configuration files of uWSGI."""

from __future__ import annotations

from ..subject import Source, Subject
from . import docker, uwsgi_export, uwsgi_ini, uwsgi_other


def recognises(name: str, text: str) -> bool:
    """Return whether it has a section [uwsgi], or is XML, YAML or JSON with uWSGI's options."""
    extension = name.rpartition(".")[2]
    if extension in uwsgi_other.FORMATS:
        return uwsgi_other.looks_like_uwsgi(extension, text)
    if extension == "py" or "[uwsgi" not in text or _writes_a_file(name, text):
        return False
    heads = uwsgi_ini.sections(text.lstrip("\ufeff"))  # a byte order mark is for a rule to find
    return any(section.startswith("uwsgi") for section, _ in heads)


def _writes_a_file(name: str, text: str) -> bool:
    """Return whether it is a script or a Dockerfile, which may hold a uwsgi.ini in a heredoc."""
    return text.startswith("#!") or docker.recognises(name, text)


def read(subject: Subject, source: Source, open_file: uwsgi_export.Open) -> None:
    """Add the configuration of section [uwsgi]."""
    config = uwsgi_export.read(source, open_file)
    subject.uwsgi.append(config)
    if len(config.options) >= uwsgi_export.MOST_OPTIONS:
        subject.skip(source.file, f"what comes after {uwsgi_export.MOST_OPTIONS} options")
