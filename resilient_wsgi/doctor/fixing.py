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
        if file in subject.sources
    }


def difference(subject: Subject, texts: Dict[str, str]) -> List[str]:
    """Return the lines of a unified diff."""
    lines: List[str] = []
    for file, text in texts.items():
        before = subject.sources[file].text.splitlines()
        lines += difflib.unified_diff(before, text.splitlines(), file, file, lineterm="")
    return lines


def write(file: str, text: str) -> None:
    """Replace a file at once, keeping its mode; a symbolic link stays one."""
    path = os.path.realpath(file)
    mode = stat.S_IMODE(os.stat(path).st_mode)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".doctor-")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as out:
            out.write(text)
            os.fchmod(out.fileno(), mode)
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
