"""The report, as text, JSON, SARIF or annotations of GitHub."""

from __future__ import annotations

from typing import List, NamedTuple

from ..model import Finding, Severity
from ..subject import Subject


class Report(NamedTuple):
    """What was found, and in what."""

    findings: List[Finding]
    subject: Subject
    known: int = 0  # findings that the baseline knows

    def count(self, severity: Severity) -> int:
        """Return how many findings have a severity."""
        return sum(each.severity is severity for each in self.findings)
