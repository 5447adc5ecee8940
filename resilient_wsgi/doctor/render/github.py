"""The report as workflow commands: GitHub shows them as annotations of the changed files."""

from __future__ import annotations

from typing import List

from ..model import Finding, Severity
from . import Report

_KINDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HINT: "notice"}


def lines(report: Report) -> List[str]:
    """Return one command a finding."""
    return [_command(each) for each in report.findings]


def _command(finding: Finding) -> str:
    file, line = finding.location.path, finding.location.line
    where = f"file={_property(file)},line={line or 1}," if file else ""
    text = _data(f"{finding.message}\nFix: {finding.fix}\n{finding.url}")
    return f"::{_KINDS[finding.severity]} {where}title={finding.code}::{text}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
