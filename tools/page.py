"""A page of the docs that is made from the code: print it, or tell whether the file is current."""

from __future__ import annotations

import sys
from typing import Sequence


def print_or_check(arguments: Sequence[str], page: str, target: str) -> int:
    """Print `page`, or with `--check FILE` return 1 if the file is another, naming the make target."""
    if arguments[:1] != ["--check"]:
        sys.stdout.write(page)
        return 0
    with open(arguments[1], encoding="utf-8") as file:
        current = file.read() == page
    if not current:
        print(f"{arguments[1]} is not current: run make {target}", file=sys.stderr)
    return 0 if current else 1


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|")
