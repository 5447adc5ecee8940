"""One run as an SVG: answers a second by status, the listen queue, blocked threads, over one time
axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Dict, List, Sequence, Tuple

from lab.measuring.load import NO_ANSWER, REFUSED

if TYPE_CHECKING:
    from lab.measuring.sampler import Series

WIDTH = 600
LEFT, RIGHT, TOP = 52, 12, 44
GAP = 40
PANELS = (("answers per second", 170), ("waiting in the listen queue", 80), ("blocked threads", 60))
HELD = "blocked threads; dark: those that wait for the upstream"
WAITS = "seconds until a good answer; line: the longest wait in the queue that is not shed"
HEIGHT = TOP + sum(height for _, height in PANELS) + GAP * (len(PANELS) - 1) + 20
BIN_SECONDS = 0.5
# in the order in which they are stacked; each has a colour of its own in the style sheet of the
# page
STATUSES = {
    "200": "ok",
    "503": "s503",
    "500": "s500",
    "502": "s502",
    "504": "s504",
    NO_ANSWER: "none",
    REFUSED: "refused",
}
LABEL_WIDTH = 6.0  # of a letter at 11 px, roughly


@dataclass(frozen=True)
class Scale:
    """What both plots of an incident have in common, so that they can be compared by eye."""

    seconds: float
    answers: float
    queue: float
    blocked: float
    waits: float = 0.0  # 0 for none: blocked threads are shown instead

    @classmethod
    def of(cls, runs: Sequence[Series]) -> Scale:
        """Return the scale that all these runs fit in."""
        totals = [
            sum(at) for run in runs for at in zip(*run.answers_per_second(BIN_SECONDS).values())
        ]
        return cls(
            max((run.seconds for run in runs), default=1.0),
            max([*totals, *(run.capacity or 0.0 for run in runs)], default=1.0),
            max((depth for run in runs for _, depth in run.queue), default=1),
            max((count for run in runs for _, count in run.blocked), default=1),
            max((wait for run in runs for _, wait in run.waits), default=0.0),
        )


def svg(series: Series, scale: Scale, title: str) -> str:
    """Return the plot as an inline SVG, coloured by the classes of the page's style sheet."""
    parts: List[str] = []
    y = TOP
    for (name, height), most in zip(PANELS, (scale.answers, scale.queue, scale.blocked)):
        waits = name == PANELS[2][0] and scale.waits
        panel = _Panel(y, height, scale.seconds, _round_up(scale.waits if waits else most))
        held = series.held if name == PANELS[2][0] else []
        parts += panel.frame(WAITS if waits else HELD if held else name)
        if waits:
            parts += _waits(panel, series)
        elif name == PANELS[0][0]:
            parts += _bars(panel, series.answers_per_second(BIN_SECONDS))
            if series.capacity is not None:
                parts += _level(panel, series.capacity, "capacity")
        else:
            parts.append(_area(panel, series.queue if name == PANELS[1][0] else series.blocked))
            parts.append(_area(panel, held, "held"))
        y += height + GAP
    parts = _moments(series, scale.seconds, y - GAP) + parts
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>' + "".join(parts) + "</svg>"
    )


def statuses_in(runs: Sequence[Series]) -> List[str]:
    """Return the statuses that occur, in the order in which they are stacked."""
    found = {status for run in runs for _, status in run.answers}
    return [status for status in STATUSES if status in found] + sorted(found - set(STATUSES))


def css_class(status: str) -> str:
    """Return the class that gives this status its colour."""
    return STATUSES.get(status, "other")


@dataclass(frozen=True)
class _Panel:
    top: float
    height: float
    seconds: float
    most: float

    def x(self, seconds: float) -> float:
        return _x(seconds, self.seconds)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - min(value, self.most) / self.most)

    def frame(self, name: str) -> List[str]:
        """Return title, grid, and both axes with their units."""
        bottom = self.top + self.height
        parts = [f'<text class="panel" x="{LEFT}" y="{self.top - 9}">{name}</text>']
        for value in _ticks(self.most, 4 if self.height > 100 else 2):
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(
                f'<text class="tick" text-anchor="end" x="{LEFT - 6}" '
                f'y="{y + 3.5:.1f}">{value:g}</text>'
            )
        for second in _ticks(self.seconds, 8):
            label = f"{second:g} s" if second else "0"
            parts.append(
                f'<text class="tick" text-anchor="middle" x="{self.x(second):.1f}" '
                f'y="{bottom + 13}">{label}</text>'
            )
        return parts


def _bars(panel: _Panel, rates: Dict[str, List[float]]) -> List[str]:
    parts = []
    base = [0.0] * max((len(rate) for rate in rates.values()), default=0)
    width = max(1.0, panel.x(BIN_SECONDS) - panel.x(0) - 1)
    for status in [*STATUSES, *sorted(set(rates) - set(STATUSES))]:
        for at, rate in enumerate(rates.get(status, [])):
            if not rate:
                continue
            top, bottom = panel.y(base[at] + rate), panel.y(base[at])
            base[at] += rate
            parts.append(
                f'<rect class="{css_class(status)}" x="{panel.x(at * BIN_SECONDS):.1f}" '
                f'y="{top:.1f}" '
                f'width="{width:.1f}" height="{bottom - top:.1f}"/>'
            )
    return parts


def _level(panel: _Panel, value: float, words: str) -> List[str]:
    """Return a line across the panel, with its words at the right end."""
    y = panel.y(value)
    return [
        f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="words" text-anchor="end" x="{WIDTH - RIGHT}" y="{y - 4:.1f}">{words}</text>',
    ]


def _area(panel: _Panel, samples: Sequence[Tuple[float, int]], style: str = "area") -> str:
    if not samples:
        return ""
    points = [f"{panel.x(at):.1f},{panel.y(value):.1f}" for at, value in samples]
    first, last, floor = panel.x(samples[0][0]), panel.x(samples[-1][0]), panel.y(0)
    closed = " ".join([f"{first:.1f},{floor:.1f}", *points, f"{last:.1f},{floor:.1f}"])
    return f'<polygon class="{style}" points="{closed}"/><polyline class="line" points="{" ".join(points)}"/>'


def _waits(panel: _Panel, series: Series) -> List[str]:
    """Return a dot for each good answer, and lines where a wait is shed."""
    parts = [
        f'<circle class="ok" cx="{panel.x(at):.1f}" cy="{panel.y(wait):.1f}" r="1.2"/>'
        for at, wait in series.waits
    ]
    for (at, allowed), (until, _) in zip(series.allowed, series.allowed[1:]):
        if allowed is not None:
            y = panel.y(allowed)
            x1, x2 = panel.x(at), panel.x(until)
            line = f'x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
            parts.append(f'<line class="level" {line}/>')
    return parts


def _moments(series: Series, seconds: float, bottom: float) -> List[str]:
    """Return a line through all panels for each moment; its words go into the first of two rows
    where there is room.
    """
    parts = []
    row_ends = [0.0, 0.0]
    for at, words in series.moments:
        x = _x(at, seconds)
        width = len(words) * LABEL_WIDTH
        start = min(x + 3, WIDTH - RIGHT - width)
        row = 0 if start >= row_ends[0] or row_ends[0] <= row_ends[1] else 1
        row_ends[row] = start + width + 8
        y = 11 + 13 * row
        parts.append(f'<line class="moment" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{bottom}"/>')
        parts.append(f'<text class="words" x="{start:.1f}" y="{y}">{escape(words)}</text>')
    return parts


def _x(seconds: float, of_seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / of_seconds


def _round_up(value: float) -> float:
    """Return the next number that is 1, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    value = max(value, 2.0)
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 3, 4, 5, 6, 8, 10) if factor * power >= value)


def _ticks(most: float, about: int) -> List[float]:
    """Return round numbers from 0 to `most`, about this many."""
    power = 10.0 ** math.floor(math.log10(most / about)) if most > 0 else 1.0
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most / about)
    step = max(step, 1.0)
    return [number * step for number in range(int(most / step) + 1)]
