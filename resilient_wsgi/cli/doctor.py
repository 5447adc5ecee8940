"""Check the configuration of a service: what breaks, what hurts under failure, and how to fix it.

Reads configuration files, and with --pid what /proc and the kernel say of a running instance. It
never runs, imports or contacts what it looks at; only the settings named by --django are imported.
Files are recognised by their content. Without a file it looks for all that it knows in the working
directory. Every finding has a code; `--explain CODE` says why it matters, with an example.
"""

from __future__ import annotations

import argparse
import os
from typing import List

from .. import __version__
from ..doctor import baseline, collect, examine, fixing
from ..doctor.files import read_text
from ..doctor.machine import ThisMachine
from ..doctor.model import Finding, Severity
from ..doctor.render import Report
from ..doctor.subject import Subject
from . import output, target
from .target import CannotLook

EXIT_CODES = {
    0: "no error was found; with --strict: no error and no warning",
    1: "there are errors; with --strict: errors or warnings",
    2: "nothing could be looked at, or a file that was named could not",
}
JSON = {
    "[].code": "of the rule, U45 for one",
    "[].severity": "`error`, `warning` or `hint`",
    "[].file": "as it was named; empty if it is about the host",
    "[].line": "from 1; 0 if it is about the whole file",
    "[].message": "what is there, with the numbers that were compared",
    "[].fix": "",
    "[].url": "the rule's page",
}
FORMATS = ("text", "json", "sarif", "github")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `doctor` takes."""
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="files, or folders to search")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pid", type=int, help="look at a running instance, and its files, too")
    which.add_argument("--pidfile", metavar="FILE", help="with the pid in this file")
    add("--django", metavar="SETTINGS", help="look at a project's settings, which are imported")
    add("--format", choices=FORMATS, default="text", help="how the report is printed")
    add("--json", action="store_true", help="short for --format json")
    add("--select", metavar="CODES", default="", help="only these: U45,N for U45 and all N")
    add("--ignore", metavar="CODES", default="", help="all but these")
    add("--strict", action="store_true", help="exit with code 1 for warnings, too")
    add("--baseline", metavar="FILE", help="do not report the findings of this file")
    add("--write-baseline", metavar="FILE", help="write the findings of today to this file")
    add("--fix", action="store_true", help="make the changes that are safe, and print them")
    add("--diff", action="store_true", help="print the changes that --fix would make")
    add("--explain", metavar="CODE", help="print the page of a rule")


def run(arguments: argparse.Namespace) -> int:
    """Look, print the report, and return 1 if something is wrong."""
    if arguments.explain:
        return _explain(arguments.explain.upper())
    rules = examine.select(_codes(arguments.select), _codes(arguments.ignore))
    subject = _gather(arguments)
    findings = examine.examine(subject, rules)
    if arguments.write_baseline:
        with open(arguments.write_baseline, "w", encoding="utf-8") as file:
            file.write(baseline.dumped(findings))
    if arguments.fix or arguments.diff:
        return _change(arguments, subject, findings)
    return _report(arguments, subject, findings)


def _gather(arguments: argparse.Namespace) -> Subject:
    subject = _django(arguments.django) if arguments.django else Subject(ThisMachine())
    live = arguments.pid is not None or arguments.pidfile is not None
    if live:
        from ..doctor.live import attach

        master = target.master(arguments)
        workers = [pid for pid in target.family(master) if pid != master]
        if not attach.attach(subject, master, workers):
            msg = f"process {master}{target.name_of(master)} is no server: it listens to nothing"
            raise CannotLook(msg)
    files = arguments.files or ([] if live else [os.curdir])
    collect.from_paths(files, subject)
    found = any(each.kind not in ("", "python") for each in subject.sources.values())
    if not found and not live and not any(each.asked for each in subject.not_looked):
        raise CannotLook("no file that the doctor knows was found here. Fix: name the files")
    return subject


def _django(name: str) -> Subject:
    """Return a subject with the settings of a project; they are run to be read."""
    try:
        from ..django import deployment

        return deployment.subject_of(name)
    except Exception as error:  # whatever the settings raise
        msg = f"the settings {name} cannot be imported: {type(error).__name__}: {error}"
        raise CannotLook(msg) from error


def _report(arguments: argparse.Namespace, subject: Subject, findings: List[Finding]) -> int:
    shown = findings
    if arguments.baseline:
        shown = baseline.new(findings, baseline.loaded(read_text(arguments.baseline)))
    _print(arguments, Report(shown, subject, len(findings) - len(shown)))
    if subject.not_looked and any(skipped.asked for skipped in subject.not_looked):
        return 2
    bad = [Severity.ERROR, Severity.WARNING] if arguments.strict else [Severity.ERROR]
    return 1 if any(each.severity in bad for each in shown) else 0


def _print(arguments: argparse.Namespace, report: Report) -> None:
    if arguments.json or arguments.format == "json":
        arguments.json = True
        output.answer(arguments, [each.fields() for each in report.findings], ())
    elif arguments.format == "sarif":
        from ..doctor.render import sarif

        arguments.json = True
        output.answer(arguments, sarif.document(report, __version__), ())
    elif arguments.format == "github":
        from ..doctor.render import github

        output.say(*github.lines(report))
    else:
        from ..doctor.render import text

        output.say(*text.lines(report))


def _change(arguments: argparse.Namespace, subject: Subject, findings: List[Finding]) -> int:
    texts = fixing.fixed(subject, findings)
    output.say(*fixing.difference(subject, texts))
    if arguments.fix:
        for file, text in texts.items():
            fixing.write(file, text)
    for each in fixing.by_hand(subject, findings):
        output.complain(f"{each} is a part of another file. Fix: change it by hand")
    return 2 if any(each.asked for each in subject.not_looked) else 0


def _explain(code: str) -> int:
    from ..doctor import page
    from ..doctor.rules import load

    rules = load()
    if code not in rules:
        msg = f"there is no rule {code}. Fix: take a code that the doctor printed"
        raise CannotLook(msg)
    output.say(*page.page(rules[code]).rstrip("\n").split("\n"))
    return 0


def _codes(text: str) -> List[str]:
    return [each.strip().upper() for each in text.split(",") if each.strip()]
