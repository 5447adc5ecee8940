"""Look at running instances from outside, and start one whose log cannot block it."""

from __future__ import annotations

import argparse
import importlib
import sys

from . import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional

# each module offers add_arguments(parser) and run(arguments) -> exit code
VERBS = {
    "drain": "readiness.drain_verb",
    "exec": "stderr.shim",
    "ready": "readiness.probe",
    "report": "outbound.report_verb",
    "stacks": "cli_stacks",
    "status": "cli_status",
    "unstick": "stderr.unstick",
}


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a verb; return 0 if all is well, 1 if what was asked for is not well, 2 if it could not be done."""
    parser = argparse.ArgumentParser(prog="resilient-wsgi", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    arguments = sys.argv[1:] if arguments is None else arguments
    # only the one that is wanted is imported: an exec probe is a process of its own every few seconds
    for name in arguments[:1] if arguments[:1] and arguments[0] in VERBS else VERBS:
        verb = _verb(name)
        first_line = (verb.__doc__ or "").splitlines()[0]
        verb.add_arguments(verbs.add_parser(name, help=first_line, description=verb.__doc__))
    chosen = parser.parse_args(arguments)
    try:
        return int(_verb(chosen.verb).run(chosen))
    except (OSError, ValueError) as error:
        print(f"resilient-wsgi {chosen.verb}: {error}", file=sys.stderr)  # noqa: T201
        return 2


def _verb(name: str) -> Any:
    return importlib.import_module(f".{VERBS[name]}", __package__)
