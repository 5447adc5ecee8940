"""A baseline: the findings of today, so that only new ones are reported from now on.

It remembers a finding by its file, its code and the text of its line, not by the line's number: an
edit elsewhere in the file does not bring it back.
"""

from __future__ import annotations

import collections
import json
from typing import Any, Counter, List, Tuple

from .model import Finding
from .quoting import quoted

_VERSION = 1
Key = Tuple[str, str, str]


def dumped(findings: List[Finding]) -> str:
    """Return the text of a baseline of these findings."""
    entries = [
        {"file": file, "code": code, "text": text, "count": count}
        for (file, code, text), count in sorted(collections.Counter(map(_key, findings)).items())
    ]
    return json.dumps({"version": _VERSION, "findings": entries}, indent=1) + "\n"


def loaded(text: str) -> Counter[Key]:
    """Return the findings of a baseline; raise `ValueError` if the text is none."""
    try:
        entries = _entries(json.loads(text))
        return collections.Counter({_key_of(each): int(each["count"]) for each in entries})
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        msg = f"not a baseline of the doctor ({error}). Fix: write it with --write-baseline"
        raise ValueError(msg) from None


def new(findings: List[Finding], known: Counter[Key]) -> List[Finding]:
    """Return the findings that are not in the baseline, or more often than there."""
    left = collections.Counter(known)
    fresh = []
    for each in findings:
        if left[_key(each)] > 0:
            left[_key(each)] -= 1
        else:
            fresh.append(each)
    return fresh


def _entries(content: Any) -> List[Any]:
    if content["version"] != _VERSION:
        msg = f"version {content['version']!r}"
        raise ValueError(msg)
    return list(content["findings"])


def _key_of(entry: Any) -> Key:
    return str(entry["file"]), str(entry["code"]), str(entry["text"])


def _key(finding: Finding) -> Key:
    # a baseline is committed, and may be read by more people than the file
    return finding.location.file, finding.code, " ".join(quoted(finding.location.text).split())
