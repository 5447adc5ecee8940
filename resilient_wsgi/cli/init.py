"""Write a good uwsgi.ini for the project in a folder, with what goes around it.

Finds the app (Django's through manage.py, Flask's and others through their modules, without
importing them), and the virtual environment. A project with a Dockerfile or a compose file gets a
Kubernetes deployment with probes; another gets an nginx site and a systemd unit. Files that are
there already are left as they are.
"""

from __future__ import annotations

import argparse
import os
from typing import Dict, List

from ..doctor import collect, examine
from ..doctor.init import project, templates
from ..doctor.machine import ThisMachine
from ..doctor.model import Severity
from ..doctor.render import Report, text
from . import output
from .target import CannotLook

EXIT_CODES = {
    0: "the files are written",
    1: "a file was there already, and was left as it is",
    2: "no app was found, or a file could not be written",
}
JSON: Dict[str, str] = {}
_SOMAXCONN = "net.core.somaxconn"
_SOMAXCONN_OF_LINUX = 4096  # since 5.4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `init` takes."""
    add = parser.add_argument
    add("folder", nargs="?", default=os.curdir, metavar="FOLDER", help="of the project")
    add("--app", metavar="MODULE:CALLABLE", help="the app, if it is not found")
    add("--print", action="store_true", help="print the files instead of writing them")


def run(arguments: argparse.Namespace) -> int:
    """Write the files, and say what is left to do."""
    folder = os.path.abspath(arguments.folder)
    if not os.path.isdir(folder):
        msg = f"{arguments.folder} is not a folder"
        raise CannotLook(msg)
    found = project.find(folder, arguments.app)
    somaxconn = ThisMachine().number(_SOMAXCONN) or _SOMAXCONN_OF_LINUX
    files = templates.files(found, folder, somaxconn)
    if arguments.print:
        for name, content in files.items():
            output.say(f"# ---- {name}", *content.rstrip("\n").split("\n"), "")
        return 0
    kept = [name for name in files if os.path.lexists(os.path.join(folder, name))]
    written = [name for name in files if name not in kept]
    for name in written:
        _write(os.path.join(folder, name), files[name])
    output.say(
        f"found {found.app}: {found.because}",
        *(f"wrote {name}" for name in written),
        *(f"left {name} as it is: it was there already" for name in kept),
        *_findings(files),
        *_next(found),
    )
    return 1 if kept else 0


def _write(path: str, content: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "x", encoding="utf-8") as file:  # never one that came in the meantime
        file.write(content)


def _findings(files: Dict[str, str]) -> List[str]:
    """Return what the doctor says of the files."""
    subject = collect.from_texts(files, ThisMachine())
    found = [each for each in examine.examine(subject) if each.severity is not Severity.HINT]
    return ["", *text.lines(Report(found, subject))] if found else []


def _next(found: project.Project) -> List[str]:
    steps = []
    if not found.has_library and found.django:
        steps.append('add "resilient_wsgi.django" to INSTALLED_APPS')
    elif not found.has_library:
        steps.append("add resilient_wsgi.install() and resilient_wsgi.wrap() to the app")
    steps.append("check it with: resilient-wsgi doctor")
    return ["Next:", *(f"    {each}" for each in steps)]
