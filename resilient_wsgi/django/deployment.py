"""What the doctor finds in a project that Django has loaded, and in the files of its servers."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Dict, List

from django.conf import settings

from ..doctor import collect, examine
from ..doctor.machine import ThisMachine
from ..doctor.model import Finding
from ..doctor.read.django import NAMES, DjangoSettings
from ..doctor.subject import Source, Subject

_PACKAGES = ("gunicorn", "redis", "uwsgi")


def findings() -> List[Finding]:
    """Return what the rules find in the settings and below the working directory."""
    subject = _with_project()
    collect.from_paths([os.curdir], subject)
    return examine.examine(subject)


def subject_of(name: str) -> Subject:
    """Import a project's settings, seen from the working directory, and return a subject with them.

    Raises whatever they raise. Its apps are not set up.
    """
    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = name
    return _with_project()


def _with_project() -> Subject:
    subject = Subject(ThisMachine(_versions()))
    subject.django = project()
    name = subject.django.location.file
    subject.sources[name] = Source(name, "", "django")
    return subject


def project() -> DjangoSettings:
    """Return the settings of this process, those that rules ask for."""
    values = {name: getattr(settings, name) for name in NAMES if hasattr(settings, name)}
    return DjangoSettings(values, str(getattr(settings, "SETTINGS_MODULE", "")))


def _versions() -> Dict[str, str]:
    """Return the versions of Python and of packages of this environment, which its servers use."""
    from importlib import metadata

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
