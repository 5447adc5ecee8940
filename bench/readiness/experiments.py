"""Readiness, shown on real servers: `python -m bench.readiness.experiments [table] [throughput]
[minute] [memory] [probe] [chain]`.

Each part prints a Markdown table; without arguments all of them run, in about twenty minutes.
`--cells` has the table show every single case; kinds of failure can be named (`python -m
bench.readiness.experiments table import killed`).
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from bench import report
from bench.readiness import costs as readiness_costs, memory as readiness_memory
from bench.readiness.cases import KINDS
from bench.readiness.table import Cell, cells, run_all

Row = Tuple[object, ...]
CELL_HEAD = (
    "server", "mode", "named by", "failure", "of whom, when, how often", "answers", "500s",
    "respawns",
    "all serve after", "master's CPU", "the instance", "held",
)  # fmt: skip
TABLE_HEAD = (
    "failure of a load", "cases, held", "500s", "all serve after: median, longest",
    "nearest to its bound", "respawns, most",
    "master's CPU, most", "without: not served, of 240", "need-app: ends",
)  # fmt: skip


def table() -> Iterator[Row]:
    """Loads that fail, in every way: with the library, and without it both
    without and with `need-app`."""
    wanted = [kind for kind in KINDS if kind in sys.argv] or list(KINDS)
    begin, done = time.monotonic(), list(run_all([cell for cell in cells() if cell.kind in wanted]))
    for kind in wanted:
        yield _summary(kind, [cell for cell in done if cell.kind == kind])
    shown = [cell for cell in done if cell.wrong or "--cells" in sys.argv]
    protected = [cell for cell in done if cell.server == "with"]
    held = sum(not cell.wrong for cell in protected)
    print(
        f"\n{len(protected)} cases, {held} held; {len(done)} without the library, in "
        f"{time.monotonic() - begin:.0f} s\n"
    )
    _print(CELL_HEAD, (cell.row() for cell in shown))


def _summary(kind: str, done: Sequence[Cell]) -> Row:
    by_server = {
        name: [cell for cell in done if cell.server == name]
        for name in ("with", "without", "without, need-app")
    }
    protected = by_server["with"]
    timed = [
        (cell.seconds, cell.bound - cell.seconds) for cell in protected if cell.seconds is not None
    ]
    ends = [cell.end for cell in by_server["without, need-app"] if cell.lazy]
    return (
        kind, f"{len(protected)}, {sum(not cell.wrong for cell in protected)}",
        sum(cell.fives for cell in protected),
        f"{statistics.median(s for s, _ in timed):.1f}, {max(timed)[0]:.1f} s",
        f"{min(left for _, left in timed):.1f} s",
        max(cell.respawns for cell in protected), f"{max(cell.cpu for cell in protected) * 100:.0f} %",
        sum(cell.refused() for cell in by_server["without"] if cell.lazy),
        f"{sum(end != 'runs' for end in ends)} of {len(ends)}",
    )  # fmt: skip


PARTS: Dict[str, Tuple[Callable[[], Iterator[Row]], Row]] = {
    "table": (table, TABLE_HEAD),
    "throughput": (
        readiness_costs.throughput,
        ("2 healthy beside 2 that fail, requests/s", "2 alone", "ratio of neighbouring runs"),
    ),
    "minute": (
        readiness_costs.minute,
        (
            "respawns",
            "at most planned",
            "master's CPU",
            "CPU of the loads",
            "one that pauses",
            "one that serves",
        ),
    ),
    "memory": (
        readiness_memory.memory,
        ("memory", "", "answers while it is short", "failed loads", "all 8 serve again after"),
    ),
    "probe": (
        readiness_costs.probe,
        (
            "",
            "exec probe: median / p95 / CPU",
            "`python -c pass`",
            "exit codes",
            "HTTP probe, patience 2 s",
        ),
    ),
    "chain": (
        readiness_costs.chain,
        ("", "chain reloads", "requests", "failed", "answered cold", "each takes"),
    ),
}


def main(arguments: List[str]) -> None:
    """Run the parts that are named, or all."""
    print(report.machine("uwsgi"))
    for name in [argument for argument in arguments if argument in PARTS] or PARTS:
        part, head = PARTS[name]
        print(f"\n### {name}: {(part.__doc__ or '').splitlines()[0]}\n")
        _print(head, part())


def _print(head: Row, rows: Iterator[Row]) -> None:
    print("| " + " | ".join(map(str, head)) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
