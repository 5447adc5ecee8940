"""Rules about versions of gunicorn, and gunicorn as the first process of a container."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..read import runners
from ..subject import Subject
from .gunicorn_facts import instances
from .uwsgi_facts import is_before, is_since
from .versions import shown, version_of

_IMAGE = 'FROM python:3.12\nCMD ["gunicorn", "-c", "gunicorn.conf.py", "mysite.wsgi"]\n'


@rule(
    "G12",
    Severity.WARNING,
    "gunicorn before 26.1 as process 1 takes a foreign child's exit for a failed start",
    why=(
        "As process 1 of a container gunicorn is given the orphans of all others. Before 26.1 it "
        "took one that ended with code 3 or 4 for a worker that failed to start, and stopped the "
        "whole instance."
    ),
    bad={"requirements.txt": "gunicorn==26.0.0\n", "Dockerfile": _IMAGE},
    good={"requirements.txt": "gunicorn==27.0.1\n", "Dockerfile": _IMAGE},
    fix="Install gunicorn 26.1 or newer, or run it below tini (docker run --init).",
    sources=("benoitc/gunicorn#3220",),
)
def orphans_of_others(subject: Subject) -> Iterator[Evidence]:
    """Compare the version with that of the fix, where gunicorn is a container's first process."""
    version = version_of(subject, "gunicorn")
    for runner in runners.of(subject):
        command = runner.running("gunicorn")
        if not (command and runner.in_container and is_before(version, (26, 1))):
            continue
        if not {"tini", "dumb-init"} & set(command.wrappers):
            yield at(
                command,
                f"gunicorn {shown(version)} is process 1 of {runner}",
            )


@rule(
    "G13",
    Severity.WARNING,
    "gunicorn 25.1 to 26.0 leaves a control socket behind at each reload",
    why=(
        "From 25.1 on gunicorn has a control socket. Until 26.0 each SIGHUP opened another one "
        "and did not close the one before: a service that is reloaded often runs out of "
        "descriptors."
    ),
    bad={"requirements.txt": "gunicorn==26.0.0\n", "Procfile": "web: gunicorn mysite.wsgi\n"},
    good={"requirements.txt": "gunicorn==27.0.1\n", "Procfile": "web: gunicorn mysite.wsgi\n"},
    fix="Install gunicorn 26.1 or newer, or start it with --no-control-socket.",
    sources=("benoitc/gunicorn#3648",),
)
def control_sockets(subject: Subject) -> Iterator[Evidence]:
    """Compare the version with those that have the defect."""
    version = version_of(subject, "gunicorn")
    for each in instances(subject):
        affected = is_since(version, (25, 1)) and is_before(version, (26, 1))
        if affected and each.settings.value("control_socket_disable") is not True:
            yield at(each.settings, f"gunicorn is {shown(version)}: each SIGHUP leaks a socket")
