"""The incidents from the command line.

python -m lab                          all of them, without and then with the library
python -m lab hung-upstream --without  one of them, without the library
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Dict, List, Sequence

from lab.incidents import INCIDENTS
from lab.rendering import page, picture, table
from lab.rendering.outcome import Outcome, attempt

REPORT = Path(__file__).resolve().parent / "report" / "index.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 0 if every run went as it must, 1 if not."""
    chosen = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that servers are ended then, too
        signal.signal(number, signal.default_int_handler)
    begin = time.monotonic()
    outcomes: Dict[str, List[Outcome]] = {}
    for incident in chosen.incidents or INCIDENTS:
        for protected in chosen.kinds:
            outcomes.setdefault(incident, []).append(_run(incident, protected=protected))
    seconds = time.monotonic() - begin
    page.write(REPORT, outcomes, seconds)
    for incident, runs in outcomes.items():
        picture.write(REPORT.with_name(f"{incident}.svg"), runs)
    print(f"\n{table.render(outcomes)}\n\n{seconds:.0f} s in all; report: {REPORT}")
    return 0 if all(outcome.as_described for runs in outcomes.values() for outcome in runs) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="The incidents, without and with the library."
    )
    parser.add_argument(
        "incidents", nargs="*", metavar="incident", help=f"{', '.join(INCIDENTS)}; all by default"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--without",
        dest="kinds",
        action="store_const",
        const=(False,),
        help="only without the library",
    )
    kind.add_argument(
        "--with", dest="kinds", action="store_const", const=(True,), help="only with the library"
    )
    parser.set_defaults(kinds=(False, True))
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.incidents) - set(INCIDENTS))
    if unknown:
        parser.error(f"unknown incident: {', '.join(unknown)} (choose from {', '.join(INCIDENTS)})")
    return chosen


def _run(incident: str, *, protected: bool) -> Outcome:
    print(f"{incident:20} {'with' if protected else 'without':8} ", end="", flush=True)
    outcome = attempt(INCIDENTS[incident], protected=protected)
    print(f"{outcome.seconds:5.1f} s  {outcome.words}", flush=True)
    return outcome


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; all servers are ended")
