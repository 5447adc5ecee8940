"""Standard output of a verb. Its exit code counts more than its text: a reader that is gone, or a full disk, changes no code."""

from __future__ import annotations

import contextlib
import os
import sys


def say(text: str) -> None:
    """Print a line, or do nothing where standard output is closed, its reader gone, or its disk full."""
    with contextlib.suppress(OSError, ValueError):
        print(text)  # noqa: T201 - into the void if sys.stdout is None


def complain(text: str) -> None:
    """Print a line to standard error, with the same promise."""
    if sys.stderr is not None:  # print() takes that for standard output
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr)  # noqa: T201


def finish() -> None:
    """Write what is still buffered; where that fails, have the interpreter not try again at its exit, aloud."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
