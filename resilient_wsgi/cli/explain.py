"""Explain the code of a log line ([RW101]): what it means, and what to do.

Needs no running instance.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("code", metavar="CODE", help="RW101, with or without brackets")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation; return 2 if there is none."""
    from ..events.explanations import EXPLANATIONS

    code = arguments.code.strip("[]").upper()
    found = EXPLANATIONS.get(code)
    if found is None:
        first, *_, last = sorted(EXPLANATIONS)
        complain(f"resilient-wsgi explain: no code {code!r}; they run from {first} to {last}")
        return 2
    answer(arguments, {"code": code, **found._asdict()}, list(_lines(code, *found)))
    return 0


def _lines(code: str, line: str, meaning: str, action: str, page: str) -> Iterator[str]:
    yield f"{code}: {line}"
    for text in (meaning, f"What to do: {action}"):
        yield ""
        yield from textwrap.wrap(text, WIDTH)
    yield ""
    yield f"More: docs/{page}.md"
