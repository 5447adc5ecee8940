"""What the doctor finds in the options that a running uWSGI was started with."""

from __future__ import annotations

import os
from typing import List, Mapping, Set

from . import ignoring
from .files import read_text
from .machine import ThisMachine
from .model import Finding, Location, Severity, in_order
from .rules import load
from .subject import Source, Subject
from .uwsgi_config import Option, UwsgiConfig

_HERE = Location("uWSGI's options")
# the startup line has the deadline of requests (U18), the backlog component the listen queue (U44),
# both as they are in force
_LOGGED_ELSEWHERE = {"U18", "U44"}


def findings(options: Mapping[str, str], versions: Mapping[str, str]) -> List[Finding]:
    """Return the errors and warnings of the rules about uWSGI; hints are left out.

    `options` are those of `uwsgi.opt`, of which each has its last value. What comments in the
    configuration file ignore is left out, if that file can be read, and what is logged at startup
    anyway.
    """
    subject = Subject(ThisMachine(versions))
    subject.uwsgi.append(
        UwsgiConfig(_HERE, [Option(name, value, _HERE, value) for name, value in options.items()])
    )
    ignored = _LOGGED_ELSEWHERE | _ignored(options.get("ini", ""))
    return [
        finding
        for rule in in_order(load("uwsgi"))
        if rule.code not in ignored
        for finding in rule.findings(subject)
        if finding.severity is not Severity.HINT
    ]


def line(found: List[Finding], file: str) -> str:
    """Return the findings in one line, `""` if there are none."""
    if not found:
        return ""
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    counts = [(errors, "error"), (len(found) - errors, "warning")]
    count = " and ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n)
    listed = "; ".join(f"{finding.code} {finding.message}" for finding in found)
    return (
        f"[RW007] uWSGI's configuration has {count}: {listed}. "
        f"Fix: resilient-wsgi doctor {file or '--pid PID'}"
    )


def _ignored(file: str) -> Set[str]:
    """Return the codes that the file ignores: none if it is not there, seen from here."""
    path = os.path.join(os.environ.get("PWD", ""), file)
    try:
        source = Source(file, read_text(path))
    except (OSError, ValueError):
        return set()
    return {ignore.code for ignore in ignoring.ignores_of(source)}
