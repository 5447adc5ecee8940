"""Explain the code of a log line ([RW101]) or of a finding of the doctor (U45): what it means, and
what to do.

Needs no running instance.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from typing import Iterator

from .output import answer, complain

EXIT_CODES = {0: "explained", 2: "no such code"}
JSON = {
    "code": "",
    "line": "how the log line begins",
    "meaning": "",
    "action": "what to do",
    "page": "of the documentation",
}
WIDTH = 88


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `explain` takes."""
    parser.add_argument("code", metavar="CODE", help="RW101, or a log line with it; or U45")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation; return 2 if there is none."""
    from ..events.explanations import EXPLANATIONS

    in_line = re.search(r"\[(RW\d+)\]", arguments.code)
    code = in_line[1] if in_line else arguments.code.strip().upper()
    if not code.startswith("RW"):
        return _rule(arguments, code)
    found = EXPLANATIONS.get(code)
    if found is None:
        first, *_, last = sorted(EXPLANATIONS)
        complain(f"resilient-wsgi explain: no code {code!r}; they run from {first} to {last}")
        return 2
    answer(arguments, {"code": code, **found._asdict()}, list(_lines(code, *found)))
    return 0


def _rule(arguments: argparse.Namespace, code: str) -> int:
    """Print the page of a rule of the doctor; return 2 if there is none."""
    from ..doctor import page
    from ..doctor.rules import load

    rule = load().get(code)
    if rule is None:
        complain(f"resilient-wsgi explain: no code {code!r}; log lines have RW101, the doctor U45")
        return 2
    fields = {
        "code": code,
        "line": rule.title,
        "meaning": rule.why,
        "action": rule.fix,
        "page": f"rules/{code}",
    }
    answer(arguments, fields, page.page(rule).rstrip("\n").split("\n"))
    return 0


def _lines(code: str, line: str, meaning: str, action: str, page: str) -> Iterator[str]:
    yield f"{code}: {line}"
    for text in (meaning, f"What to do: {action}"):
        yield ""
        yield from textwrap.wrap(text, WIDTH)
    yield ""
    yield f"More: docs/{page}.md"
