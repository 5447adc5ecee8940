"""Look at running instances from outside, and start one whose log cannot block it."""

from __future__ import annotations

import argparse
import sys
from typing import List, Optional

from . import __version__, cli_stacks, cli_status
from .readiness import drain_verb, probe
from .stderr import shim, unstick

# each offers add_arguments(parser) and run(arguments) -> exit code
VERBS = {
    "drain": drain_verb,
    "exec": shim,
    "ready": probe,
    "stacks": cli_stacks,
    "status": cli_status,
    "unstick": unstick,
}


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a verb; return 0 if all is well, 1 if what was asked for is not well, 2 if it could not be done."""
    parser = argparse.ArgumentParser(prog="resilient-wsgi", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        first_line = (verb.__doc__ or "").splitlines()[0]
        verb.add_arguments(verbs.add_parser(name, help=first_line, description=verb.__doc__))
    chosen = parser.parse_args(arguments)
    try:
        return VERBS[chosen.verb].run(chosen)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        print(f"resilient-wsgi {chosen.verb}: {error}", file=sys.stderr)  # noqa: T201
        return 2
