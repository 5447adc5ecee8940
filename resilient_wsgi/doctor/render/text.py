"""The report for a terminal: by file, with the line and the fix."""

from __future__ import annotations

from typing import Iterator, List

from ..model import Finding, Severity
from ..quoting import quoted
from . import Report

_MOST_NAMED = 20
_MOST_QUOTED = 200  # characters of a line


def lines(report: Report) -> List[str]:
    """Return the lines of the report."""
    return [*_findings(report.findings), *_not_looked(report), *_summary(report)]


def _findings(findings: List[Finding]) -> Iterator[str]:
    for each in findings:
        yield f"{place(each)}: {each.severity.value} {each.code}: {each.message}"
        if each.location.text.strip():
            yield f"    {quoted(each.location.text.strip())[:_MOST_QUOTED]}"
        yield f"    Fix: {each.fix}"
        yield ""


def place(finding: Finding) -> str:
    """Return file:line, as terminals and editors understand it."""
    file, line, _ = finding.location
    return f"{file}:{line}" if line else file or "this host"


def _not_looked(report: Report) -> Iterator[str]:
    skipped = report.subject.not_looked
    if skipped:
        yield "Not looked at:"
        for each in skipped[:_MOST_NAMED]:
            yield f"    {each.what}: {each.why}"
        if len(skipped) > _MOST_NAMED:
            yield f"    and {len(skipped) - _MOST_NAMED} more"
        yield ""


def _summary(report: Report) -> Iterator[str]:
    sources = [each for each in report.subject.sources.values() if each.kind]
    files = [f"{each.file} ({each.kind})" for each in sources if each.kind != "python"]
    modules = len(sources) - len(files)
    files += [f"{modules} Python modules"] if modules else []
    live = report.subject.live
    files = [f"{live.name} (running)", *files] if live else files
    more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
    yield f"Looked at: {', '.join(files[:_MOST_NAMED])}{more}" if files else "Looked at no file"
    known = f"; {report.known} known by the baseline" if report.known else ""
    yield f"{counted(report)}{known}"
    if report.findings:
        yield f"Explain one: resilient-wsgi doctor --explain {report.findings[0].code}"


def counted(report: Report) -> str:
    """Return how many errors, warnings and hints there are."""
    return ", ".join(
        f"{number} {severity.value}{'' if number == 1 else 's'}"
        for severity in Severity
        for number in (report.count(severity),)
    )
