"""Both runs of an incident side by side as one SVG file, for pages that cannot hold the report."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Sequence

from . import plot
from .page import STYLE

if TYPE_CHECKING:
    from pathlib import Path

    from .outcome import Outcome

MARGIN = 12
HEAD = 62
WIDTH = 2 * plot.WIDTH + 3 * MARGIN
HEIGHT = HEAD + plot.HEIGHT + MARGIN


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the picture, unless a run was skipped; its folder is made if need be."""
    if all(outcome.result for outcome in outcomes):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(outcomes))


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the picture of the runs of one incident."""
    results = [outcome.result for outcome in outcomes if outcome.result]
    runs = [result.series for result in results]
    scale = plot.Scale.of(runs)
    parts = []
    for number, result in enumerate(results):
        x = MARGIN + number * (plot.WIDTH + MARGIN)
        inner = plot.svg(result.series, scale, f"{result.incident}, {result.kind}")
        place = f'<svg x="{x}" y="{HEAD}" width="{plot.WIDTH}" height="{plot.HEIGHT}" '
        parts.append(
            f'<text class="head" x="{x + plot.LEFT}" y="24">{result.kind.capitalize()} the '
            f"library</text>" + inner.replace("<svg ", place, 1)
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<style>{_style()}</style>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="var(--card)"/>'
        f"{''.join(parts)}{_legend(plot.statuses_in(runs))}</svg>\n"
    )


def _style() -> str:
    start = STYLE.index(":root")
    variables = STYLE[start : STYLE.index("* {", start)]
    kept = [
        line
        for line in STYLE.splitlines()
        if line.startswith(("svg text", "svg .", ".ok", ".s50", ".none", ".refused"))
    ]
    return variables + "\n".join(kept) + "\nsvg text.head { font-size: 17px; fill: var(--ink); }"


def _legend(statuses: Sequence[str]) -> str:
    parts, x = [], MARGIN + plot.LEFT
    for status in statuses:
        parts.append(
            f'<rect class="{plot.css_class(status)}" x="{x}" y="40" width="10" height="10"/>'
            f'<text x="{x + 15}" y="49">{escape(status)}</text>'
        )
        x += 40 + int(len(status) * plot.LABEL_WIDTH)
    return "".join(parts)
