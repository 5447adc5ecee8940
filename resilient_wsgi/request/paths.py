"""Patterns of paths, compiled once."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Callable, Sequence

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Matcher = Callable[[str], object]


def matcher(patterns: Sequence[str]) -> Matcher:
    """Return a function that tells whether a path matches one of the patterns."""
    if not patterns:
        return lambda _: False
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)).match


def path_of(environ: WSGIEnvironment) -> str:
    """Return the path that patterns are matched with: where the app is mounted, and what follows."""
    mounted: str = environ.get("SCRIPT_NAME", "")
    path: str = environ.get("PATH_INFO", "")
    return mounted + path
