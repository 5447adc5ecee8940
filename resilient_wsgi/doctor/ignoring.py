"""Ignore comments: `; doctor: ignore U53 -- why`, above the line that it is about.

In files where a comment may follow something on its line, it may stand there, too. What is missing
is reported at the head of a section: an ignore anywhere in the file covers that.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

from .model import RULES, Finding, Location, at
from .subject import Source, Subject

OUT_OF_ORDER = "U00"
_MARK = "doctor: ignore"
_COMMENT = re.compile(
    r"(?P<before>.*?)(?P<sign>[;#]|//|<!--)\s*doctor: ignore\s+"
    r"(?P<codes>[A-Z]\d\d+(?:[ ,]+[A-Z]\d\d+)*)\s*(?:--+>?\s*(?P<reason>.*))?"
)
_COMMENT_SIGNS = (";", "#", "//", "<!--")


class Ignore(NamedTuple):
    """A code in an ignore comment."""

    code: str
    reason: str
    location: Location  # of the comment
    target: int  # the line that it is about


def apply(subject: Subject, findings: List[Finding], ran: Set[str]) -> List[Finding]:
    """Return the findings that are not ignored, and those about ignore comments.

    `ran`: the codes of the rules that ran; an ignore of another is not called unused.
    """
    ignores = [each for source in subject.sources.values() for each in ignores_of(source)]
    if not ignores:
        return findings
    kept, used = _split(findings, ignores)
    return kept + list(_out_of_order(ignores, used, ran)) if OUT_OF_ORDER in ran else kept


def ignores_of(source: Source) -> Iterator[Ignore]:
    """Yield the ignores of a file, one for each code."""
    if _MARK not in source.text:
        return
    lines = source.lines()
    for index, line in enumerate(lines):
        found = _COMMENT.match(line) if _MARK in line else None
        if found and not (source.kind == "python" and found["before"].strip()):  # in a string
            target = index + 1 if found["before"].strip() else _next_line(lines, index)
            reason = (found["reason"] or "").strip().rstrip("->").strip()
            for code in re.split("[ ,]+", found["codes"]):
                yield Ignore(code, reason, Location(source.file, index + 1, line), target)


def _next_line(lines: List[str], index: int) -> int:
    """Return the number of the next line that is no comment and not blank."""
    for later in range(index + 1, len(lines)):
        text = lines[later].strip()
        if text and not text.startswith(_COMMENT_SIGNS):
            return later + 1
    return index + 1


def _split(findings: List[Finding], ignores: List[Ignore]) -> Tuple[List[Finding], Set[Ignore]]:
    by_code: Dict[Tuple[str, str], List[Ignore]] = {}
    for each in ignores:
        by_code.setdefault((each.location.file, each.code), []).append(each)
    kept, used = [], set()
    for finding in findings:
        covering = [
            each
            for each in by_code.get((finding.location.file, finding.code), ())
            if each.target == finding.location.line or _is_about_the_whole(finding.location)
        ]
        used.update(covering)
        if not covering:
            kept.append(finding)
    return kept, used


def _is_about_the_whole(location: Location) -> bool:
    return location.line <= 1 or location.text.lstrip().startswith("[")


def _out_of_order(ignores: List[Ignore], used: Set[Ignore], ran: Set[str]) -> Iterator[Finding]:
    rule = RULES[OUT_OF_ORDER]
    for each in ignores:
        if each.code not in RULES:
            message = f"there is no rule {each.code}"
        elif each not in used and each.code in ran:
            message = f"{each.code} finds nothing here any more"
        elif not each.reason and each.code in ran:
            message = f"the ignore of {each.code} has no reason"
        else:
            continue
        evidence = at(each.location, message)
        yield Finding(rule.code, rule.severity, evidence.location, evidence.message, rule.fix)
