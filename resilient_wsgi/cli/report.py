"""List the lines of the app that call others without a timeout, or for longer than the limits would
allow.

Reads what the workers of a running instance have noticed with OUTBOUND MODE = report, by the pid of
its master; needs the right to read its files (the same user, or root). The very last calls of a
worker are counted with its next one, or at its end.
"""

from __future__ import annotations

import argparse
from typing import List

from ..outbound import ledger
from ..outbound.call_sites import Site
from . import target, why_nothing
from .output import answer, complain

EXIT_CODES = {
    0: "there are such lines",
    1: "none was noticed",
    2: "the instance cannot be looked at, or runs without the library",
}
JSON = {
    "[].site": "file:line of the app",
    "[].host": "that it called",
    "[].problem": "",
    "[].count": "calls",
    "[].worst": "seconds, at worst",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `report` takes."""
    target.add_target(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the call sites, the most frequent first; return 1 if there are none."""
    pid = target.master(arguments)
    sites: List[Site] = []
    try:
        sites = ledger.read(pid)
    except FileNotFoundError as error:
        if not ledger.exists(pid) and why_nothing.runs_without(pid):
            msg = (
                f"nothing of resilient_wsgi is seen in process {pid}{target.name_of(pid)}: "
                "is it installed in its app?"
            )
            raise target.CannotLook(msg) from None
        complain(f"resilient-wsgi report: {error}")
    if sites or arguments.json:
        answer(arguments, [each._asdict() for each in sites], render(sites))
    return 0 if sites else 1


def render(sites: List[Site]) -> List[str]:
    """Return the lines for a terminal."""
    width = max((len(site.host) for site in sites), default=0)
    lines = [f"{'calls':>9}  {'worst':>9}  {'host':<{width}}  where, and what is wrong"]
    lines += [
        f"{s.count:>9}  {s.worst:>7.2f} s  {s.host:<{width}}  {s.site} {s.problem}" for s in sites
    ]
    return lines
