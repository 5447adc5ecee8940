"""The report as SARIF 2.1.0, which code scanning of GitHub, GitLab and Azure reads."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Dict, List
from urllib.parse import quote

from ..model import PAGES, RULES, Finding, Rule, Severity, in_order
from . import Report

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HINT: "note"}
_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def document(report: Report, version: str) -> Dict[str, Any]:
    """Return the SARIF log."""
    codes = {each.code for each in report.findings}
    rules = in_order({code: RULES[code] for code in codes})
    driver = {
        "name": "resilient-wsgi doctor",
        "version": version,
        "informationUri": f"{PAGES}index.md",
        "rules": [_rule(each) for each in rules],
    }
    indexes = {each.code: index for index, each in enumerate(rules)}
    results = [_result(each, indexes[each.code]) for each in report.findings]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
        ],
    }


def _rule(rule: Rule) -> Dict[str, Any]:
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.fix},
        "helpUri": f"{PAGES}{rule.code}.md",
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, index: int) -> Dict[str, Any]:
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}. {finding.fix}"},
        "locations": _locations(finding),
        # stays the same when lines are added above
        "partialFingerprints": {"codeFileLine/v1": _fingerprint(finding)},
    }


def _locations(finding: Finding) -> List[Dict[str, Any]]:
    file, line = finding.location.path, finding.location.line
    if not file:
        return []
    absolute = file.startswith("/")
    path = quote(os.fsencode(file))  # a name may hold any bytes
    artifact = {"uri": f"file://{path}" if absolute else path}
    if not absolute:
        artifact["uriBaseId"] = "%SRCROOT%"
    physical: Dict[str, Any] = {"artifactLocation": artifact}
    if line:
        physical["region"] = {"startLine": line}
    return [{"physicalLocation": physical}]


def _fingerprint(finding: Finding) -> str:
    text = f"{finding.code}\n{finding.location.file}\n{finding.location.text.strip()}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
