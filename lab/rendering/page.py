"""The self-contained page: each incident with its two plots side by side, light and dark, nothing
loaded from elsewhere.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, List, Mapping, Sequence

from lab.rendering import plot

if TYPE_CHECKING:
    from pathlib import Path

    from lab.rendering.outcome import Outcome

ABOUT = {
    "hung-upstream": "An upstream stops answering; every worker ends up waiting for it, and the service is gone.",
    "overload": "Twice what the service can do is asked of it for a while, by clients that give up after two seconds.",
    "failed-load": "Two workers fail to load the app while memory is short, and answer 500 for ever.",
    "reload-with-threads": "A background thread that is never asked to stop holds up every reload and every stop.",
    "small-backlog": "The listen queue is smaller than the operator believes, and over a UNIX socket nothing reports that it is full.",
    "stalled-stderr": "Standard error is a pipe that is not read: in the end every thread sleeps in write(2).",
}

STYLE = """
:root { color-scheme: light dark;
  --back: #fbfbfa; --card: #ffffff; --ink: #1d2329; --soft: #5d6772; --rule: #dfe3e6; --accent: #2f6db3;
  --ok: #2e9e72; --s503: #e3a21a; --s500: #c62f45; --s502: #8c2f68; --s504: #e2684a; --none: #97a1ab; --refused: #59636d; }
@media (prefers-color-scheme: dark) { :root {
  --back: #14181c; --card: #1c2127; --ink: #e4e8ec; --soft: #98a3ae; --rule: #323a43; --accent: #6aa5e8;
  --ok: #3fb98a; --s503: #efb540; --s500: #e5566a; --s502: #b65a93; --s504: #f08a6c; --none: #75808b; --refused: #a9b3bd; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 84rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 0; font-size: 1.25rem; } h3 { margin: 0 0 .3rem; font-size: 1rem; }
.lead, .about { color: var(--soft); margin: .2rem 0 1rem; }
section { margin-top: 2.6rem; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.2rem; }
@media (max-width: 56rem) { .pair { grid-template-columns: minmax(0, 1fr); } }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 1rem 1.1rem; min-width: 0; }
.card.with { border-top: 3px solid var(--ok); } .card.without { border-top: 3px solid var(--s500); }
.seen { margin: 0 0 .8rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 0 0 .7rem; padding: 0; list-style: none; font-size: .85rem; color: var(--soft); }
.legend i { display: inline-block; width: .75em; height: .75em; margin-right: .4em; border-radius: 2px; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); paint-order: stroke; stroke: var(--card); stroke-width: 4px; } svg text.panel { fill: var(--ink); font-weight: 600; }
svg .words { fill: var(--accent); } svg .moment { stroke: var(--accent); stroke-width: 1; stroke-dasharray: 3 3; }
svg .level { stroke: var(--accent); stroke-width: 1.4; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .area { fill: var(--accent); opacity: .18; } svg .held { fill: var(--s500); opacity: .55; } svg .line { fill: none; stroke: var(--accent); stroke-width: 1.6; }
.ok { fill: var(--ok); background: var(--ok); } .s503 { fill: var(--s503); background: var(--s503); }
.s500, .other { fill: var(--s500); background: var(--s500); } .s502 { fill: var(--s502); background: var(--s502); }
.s504 { fill: var(--s504); background: var(--s504); } .none { fill: var(--none); background: var(--none); }
.refused { fill: var(--refused); background: var(--refused); }
h4 { margin: .9rem 0 .2rem; font-size: .9rem; }
.holds { margin: 0; padding: 0; list-style: none; font-size: .9rem; }
.holds li { padding-left: 1.4em; text-indent: -1.4em; }
.holds b { display: inline-block; width: 1.4em; text-indent: 0; color: var(--ok); } .holds .no, .holds .no b { color: var(--s500); }
details { margin-top: .7rem; font-size: .85rem; } summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; margin: .5rem 0 0; padding: .6rem .8rem; background: var(--back); border-radius: 6px; font-size: .78rem; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; } td:first-child { color: var(--soft); }
.skipped { color: var(--soft); font-style: italic; margin: 0; }
"""


def write(path: Path, outcomes: Mapping[str, Sequence[Outcome]], seconds: float) -> None:
    """Write the page; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(outcomes, seconds))


def render(outcomes: Mapping[str, Sequence[Outcome]], seconds: float) -> str:
    """Return the page as HTML, an incident for each key, a card for each of its outcomes."""
    sections = "".join(_section(incident, runs) for incident, runs in outcomes.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>resilient_wsgi: the incidents</title><style>{STYLE}</style></head><body>"
        "<h1>The incidents, without and with the library</h1>"
        f'<p class="lead">The same app, the same servers, the same load; only the library differs. Measured just now, in {seconds:.0f} s.</p>'
        f"{sections}</body></html>\n"
    )


def _section(incident: str, outcomes: Sequence[Outcome]) -> str:
    runs = [outcome.result.series for outcome in outcomes if outcome.result]
    scale = plot.Scale.of(runs)
    cards = "".join(_card(outcome, scale) for outcome in outcomes)
    legend = "".join(
        f'<li><i class="{plot.css_class(status)}"></i>{escape(status)}</li>'
        for status in plot.statuses_in(runs)
    )
    return (
        f'<section id="{incident}"><h2>{incident}</h2><p class="about">{escape(ABOUT.get(incident, ""))}</p>'
        f'<ul class="legend">{legend}</ul><div class="pair">{cards}</div></section>'
    )


def _card(outcome: Outcome, scale: plot.Scale) -> str:
    result = outcome.result
    if result is None:
        return f'<div class="card {outcome.kind}"><h3>{_heading(outcome.kind)}</h3><p class="skipped">{escape(outcome.words)}</p></div>'
    return (
        f'<div class="card {result.kind}"><h3>{_heading(result.kind)}</h3><p class="seen">{escape(result.seen)}</p>'
        + plot.svg(result.series, scale, f"{result.incident}, {result.kind}")
        + f"<h4>{'What must hold' if result.protected else 'The incident, as it was described'}</h4>"
        + '<ul class="holds">'
        + "".join(_statement(statement, truth) for statement, truth in result.holds)
        + "</ul>"
        + _details("Figures", _figures(result.figures))
        + (
            _details("Log lines", f"<pre>{escape(chr(10).join(result.excerpts))}</pre>")
            if result.excerpts
            else ""
        )
        + "</div>"
    )


def _heading(kind: str) -> str:
    return f"{kind.capitalize()} the library"


def _statement(statement: str, truth: bool) -> str:
    return (
        f"<li{'' if truth else ' class=no'}><b>{'✓' if truth else '✗'}</b>{escape(statement)}</li>"
    )


def _figures(figures: Mapping[str, object]) -> str:
    rows: List[str] = [
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in figures.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _details(summary: str, inner: str) -> str:
    return f"<details><summary>{summary}</summary>{inner}</details>"
