"""Run the rules over a subject."""

from __future__ import annotations

from typing import Iterable, List, Optional

from .model import RULES, Finding, Rule, in_order
from .subject import Subject


def examine(subject: Subject, rules: Optional[Iterable[Rule]] = None) -> List[Finding]:
    """Return what the rules find, by file and line; each finding once."""
    from .rules import load

    load()
    chosen = in_order(RULES) if rules is None else rules
    found = {finding: None for each in chosen for finding in each.findings(subject)}
    return sorted(found, key=lambda each: (each.location.file, each.location.line))
