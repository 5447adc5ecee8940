"""Run the rules over a subject."""

from __future__ import annotations

from typing import Iterable, List, Optional, Sequence

from . import ignoring
from .model import Finding, Rule, in_order
from .rules import load
from .subject import Subject


def examine(subject: Subject, rules: Optional[Iterable[Rule]] = None) -> List[Finding]:
    """Return what the rules find and no comment ignores, by file and line; each finding once."""
    chosen = in_order(load()) if rules is None else list(rules)
    found = {finding: None for each in chosen for finding in _findings(each, subject)}
    kept = ignoring.apply(subject, list(found), {each.code for each in chosen})
    return sorted(kept, key=lambda each: (each.location.file, each.location.line, each.code))


def _findings(rule: Rule, subject: Subject) -> List[Finding]:
    """Return what a rule finds; one that fails is reported, and the others go on."""
    try:
        return list(rule.findings(subject))
    except Exception as error:
        subject.skip(f"rule {rule.code}", f"it failed ({error!r}). Fix: report this")
        return []


def select(selected: Sequence[str], ignored: Sequence[str]) -> List[Rule]:
    """Return the rules whose codes start with one of `selected` (all, if empty) and none of
    `ignored`, in order.

    Raises `ValueError`, naming a prefix that is of no rule.
    """
    rules = in_order(load())
    for prefix in (*selected, *ignored):
        if not any(each.code.startswith(prefix) for each in rules):
            msg = f"no rule's code starts with {prefix!r}"
            raise ValueError(msg)
    return [
        each
        for each in rules
        if (not selected or each.code.startswith(tuple(selected)))
        and not each.code.startswith(tuple(ignored))
    ]
