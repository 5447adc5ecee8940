"""Standard output of a verb.

Its exit code counts more than its text: a reader that is gone, or a full disk, changes no code.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ..core.text import printable, redacted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

LINE_LIMIT = 1 << 20  # JSON is one line


def say(*lines: str) -> None:
    """Print lines, or do nothing where standard output is closed, its reader gone, or its disk
    full.

    Each stays one line: what an instance's processes, paths and errors are called comes from
    outside, and root may read it.
    """
    with contextlib.suppress(OSError, ValueError):
        print(_shown(lines))  # noqa: T201 - into the void if sys.stdout is None


def complain(*lines: str) -> None:
    """Print lines to standard error, with the same promises."""
    if sys.stderr is not None:  # print() takes that for standard output
        with contextlib.suppress(OSError, ValueError):
            print(_shown(lines), file=sys.stderr)  # noqa: T201


def _shown(lines: Sequence[str]) -> str:
    return "\n".join([printable(redacted(line), LINE_LIMIT) for line in lines])


def finish() -> None:
    """Write what is still buffered; where that fails, have the interpreter not try again at its
    exit, aloud.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
