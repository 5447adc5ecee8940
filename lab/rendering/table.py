"""The table at the end of a run, for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, List, Mapping, Sequence

if TYPE_CHECKING:
    from lab.rendering.outcome import Outcome

NAME_WIDTH = 19
HEAD = ("incident", "without the library", "with the library")


def render(outcomes: Mapping[str, Sequence[Outcome]], width: int | None = None) -> str:
    """Return a table: incident, what was seen without the library, what was seen with it."""
    width = width or shutil.get_terminal_size((120, 40)).columns
    column = max(24, (min(width, 160) - NAME_WIDTH - 10) // 2)
    widths = (NAME_WIDTH, column, column)
    rows = [_row(HEAD, widths)]
    for incident, runs in outcomes.items():
        cells = {outcome.kind: _cell(outcome) for outcome in runs}
        rows.append(
            _row(
                (incident, cells.get("without", "(not run)"), cells.get("with", "(not run)")),
                widths,
            )
        )
    return "\n".join(
        [_rule("┌┬┐", widths), f"\n{_rule('├┼┤', widths)}\n".join(rows), _rule("└┴┘", widths)]
    )


def _cell(outcome: Outcome) -> str:
    if outcome.result is None:
        return outcome.words
    failures = outcome.result.failures()
    if not failures:
        return f"{'✓' if outcome.result.protected else '✗'} {outcome.words}"
    return f"! {outcome.words}. NOT AS IT MUST BE: " + "; ".join(failures)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    wrapped: List[List[str]] = [
        textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths)
    ]
    height = max(map(len, wrapped))
    lines = ([*lines, *[""] * (height - len(lines))] for lines in wrapped)
    return "\n".join(
        "│ " + " │ ".join(text.ljust(width) for text, width in zip(texts, widths)) + " │"
        for texts in zip(*lines)
    )


def _rule(corners: str, widths: Sequence[int]) -> str:
    return corners[0] + corners[1].join("─" * (width + 2) for width in widths) + corners[2]
