"""What a verb prints.

Its exit code counts more than its text: a reader that is gone, or a full disk, changes no code.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ..core.text import printable, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Sequence

LINE_LIMIT = 1 << 20


def answer(arguments: argparse.Namespace, fields: object, lines: Sequence[str]) -> None:
    """Print the answer of a verb: the fields as JSON in one line with --json, else the lines."""
    if arguments.json:
        import json

        with contextlib.suppress(OSError, ValueError):
            print(json.dumps(_safe(fields)))  # noqa: T201 - likewise
    else:
        say(*lines)


def _safe(value: object) -> object:
    """Return a value of JSON whose texts are as those of `say`."""
    if isinstance(value, str):
        return printable(redacted(value), LINE_LIMIT)
    if isinstance(value, dict):
        return {name: _safe(each) for name, each in value.items()}
    return [_safe(each) for each in value] if isinstance(value, (list, tuple)) else value


def say(*lines: str) -> None:
    """Print lines, or do nothing where standard output is closed, its reader gone, or its disk
    full.

    Each stays one line: the names of an instance's processes, paths and errors come from outside,
    and root may read them.
    """
    with contextlib.suppress(OSError, ValueError):
        print(_shown(lines))  # noqa: T201 - into the void if sys.stdout is None


def complain(*lines: str) -> None:
    """Print lines to standard error, with the same promises."""
    if sys.stderr is not None:  # print() takes that for standard output
        with contextlib.suppress(OSError, ValueError):
            print(_shown(lines), file=sys.stderr)  # noqa: T201


def warn(*lines: str) -> None:
    """Print lines to standard error without waiting for its reader: a server is to be started."""
    # a plain print could block, or, once the descriptor does not block any more, raise
    from ..stderr.stream import NonBlockingStream

    NonBlockingStream().write(f"{_shown(lines)}\n")


def _shown(lines: Sequence[str]) -> str:
    return "\n".join([printable(redacted(line), LINE_LIMIT) for line in lines])


def finish() -> None:
    """Write what is still buffered; if that fails, keep the interpreter from trying again, aloud,
    at its exit.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
