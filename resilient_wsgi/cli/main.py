"""Look at running instances from outside, and start one whose log cannot block it."""

from __future__ import annotations

import argparse
import importlib
import sys

from .. import __version__
from . import output
from .parser import Parser
from .target import CannotLook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Mapping, Optional, Protocol

    class Verb(Protocol):
        """What the module of a verb offers; its docstring is the verb's description."""

        __doc__: Optional[str]
        EXIT_CODES: Mapping[int, str]
        JSON: Mapping[str, str]  # the fields of the answer with --json, empty without that option

        def add_arguments(self, parser: argparse.ArgumentParser) -> None:
            """Add the arguments of the verb."""

        def run(self, arguments: argparse.Namespace) -> int:
            """Do it; return the exit code. Raises `CannotLook`, `OSError`, `ValueError`: code 2."""


# by name, the module within the package; those of components, too, so that none of them has to be
# imported for a verb that is known
VERBS = {
    "doctor": "cli.doctor",
    "drain": "cli.drain",
    "exec": "cli.exec",
    "explain": "cli.explain",
    "init": "cli.init",
    "limit": "cli.limit",
    "ready": "cli.ready",
    "report": "cli.report",
    "stacks": "cli.stacks",
    "status": "cli.status",
    "unstick": "cli.unstick",
}
COULD_NOT_LOOK = 2


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a verb; return 0 if all is well, 1 if what was asked for is not well, 2 if it could not
    be looked at.
    """
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    finally:
        output.finish()


def _main(arguments: List[str]) -> int:
    if arguments and not arguments[0].startswith("-") and arguments[0] not in known(arguments[0]):
        output.complain(
            f"resilient-wsgi: unknown verb {arguments[0]!r}{_nearest(arguments[0])}",
            *_overview().splitlines(),
        )
        return COULD_NOT_LOOK
    if not arguments:
        output.complain(*_overview().splitlines())
        return COULD_NOT_LOOK
    chosen = _parser(arguments).parse_args(arguments)
    try:
        return verb(chosen.verb).run(chosen)
    except BrokenPipeError:  # the reader of the answer has seen enough of it
        return COULD_NOT_LOOK
    except (CannotLook, OSError, ValueError) as error:
        output.complain(f"resilient-wsgi {chosen.verb}: {error}")
        return COULD_NOT_LOOK


def _parser(arguments: List[str]) -> argparse.ArgumentParser:
    parser = Parser(prog="resilient-wsgi", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    # only the one that is wanted is imported: an exec probe is a process of its own every few
    # seconds
    for name in arguments[:1] if arguments[0] in known(arguments[0]) else known():
        module = verb(name)
        module.add_arguments(
            verbs.add_parser(name, help=summary(module), description=module.__doc__)
        )
    return parser


def known(name: str = "") -> Mapping[str, str]:
    """Return the verbs, each with its module: also those that components add, unless `name` is one
    that is known without them.
    """
    if name in VERBS:
        return VERBS
    from ..installation import verbs

    return {**verbs(), **VERBS}


def verb(name: str) -> Verb:
    """Import and return the module of a verb."""
    module: Verb = importlib.import_module(f"resilient_wsgi.{known(name)[name]}")
    return module


def summary(module: Verb) -> str:
    """Return what a verb is for, in one line."""
    return (module.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _overview() -> str:
    names = known()
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {summary(verb(name))}" for name in sorted(names)]
    return "\n".join(["usage: resilient-wsgi VERB [PID | --pidfile FILE] ...", *lines])


def _nearest(word: str) -> str:
    import difflib

    close = difflib.get_close_matches(word.lower(), known(), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
