"""Make the changes that rules call safe: whole lines, the rest of the file as it is."""

from __future__ import annotations

import difflib
import os
import stat
import tempfile
from typing import Dict, List

from .model import Edit, Finding
from .subject import Source, Subject


def fixed(subject: Subject, findings: List[Finding]) -> Dict[str, str]:
    """Return the new texts of the files that change, by name.

    Of two changes of one line only the first is made; the next run makes the other.
    """
    edits: Dict[str, Dict[int, Edit]] = {}
    for finding in findings:
        if all(each.line not in edits.get(each.file, {}) for each in finding.edits):
            for each in finding.edits:
                edits.setdefault(each.file, {})[each.line] = each
    return {
        file: _edited(subject.sources[file], by_line)
        for file, by_line in sorted(edits.items())
        if file in subject.sources and not _is_embedded(subject, file)
    }


def by_hand(subject: Subject, findings: List[Finding]) -> List[str]:
    """Return the files in which changes would be safe, and that lie within others: ConfigMaps."""
    files = {each.file for finding in findings for each in finding.edits}
    return sorted(each for each in files if _is_embedded(subject, each))


def _is_embedded(subject: Subject, file: str) -> bool:
    outer, within, _ = file.partition("#")
    return bool(within) and outer in subject.sources


def difference(subject: Subject, texts: Dict[str, str]) -> List[str]:
    """Return the lines of a unified diff."""
    lines: List[str] = []
    for file, text in texts.items():
        before = subject.sources[file].text.splitlines()
        lines += difflib.unified_diff(before, text.splitlines(), file, file, lineterm="")
    return lines


def write(file: str, text: str) -> None:
    """Replace a file at once, keeping its mode and owner; a symbolic link stays one.

    Raises `OSError`, and leaves the file as it was, also if it is another user's: a server that
    could not read its file any more would not start again.
    """
    path = os.path.realpath(file)
    before = os.stat(path)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".doctor-")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as out:
            out.write(text)
            now = os.fstat(out.fileno())
            if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
                os.fchown(out.fileno(), before.st_uid, before.st_gid)
            os.fchmod(out.fileno(), stat.S_IMODE(before.st_mode))  # after fchown, which clears bits
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _edited(source: Source, by_line: Dict[int, Edit]) -> str:
    lines = source.text.split("\n")
    result = []
    for number, line in enumerate(lines, 1):
        edit = by_line.get(number)
        if edit is None:
            result.append(line)
        elif edit.text is not None:
            end = "\r" if line.endswith("\r") else ""
            result += [f"{each}{end}" for each in edit.text.split("\n")]
    return "\n".join(result)
